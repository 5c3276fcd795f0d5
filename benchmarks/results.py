"""What a benchmark finds, on which machine: rows, kept as JSON, shown as Markdown.

benchmarks/results/<machine>/<benchmark>.json is what docs/benchmarks.md is made from (docs/generate_benchmarks.py).
"""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from utils.files import write_json

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("torch", "openvino", "nncf", "onnxruntime", "av", "numpy", "opencv-python")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Row:
    """What was measured. unit: of what ends in "/s" more is better, of the rest less, of what has none neither; plain:
    the same of code that works in the published way, in the same run."""

    what: str
    unit: str
    ours: float
    plain: float | None = None

    @property
    def times(self) -> float | None:
        """How many times better than the plain code."""
        if not self.plain or not self.unit:
            return None
        return self.ours / self.plain if self.unit.endswith("/s") else self.plain / self.ours


@dataclass(frozen=True)
class Measurement:
    """title, conditions: of the benchmark, in words; machine, versions: name and value; threads: of PyTorch; load:
    tasks that wanted a core when it began, over the last minute, None where the system does not say; measured: the
    day."""

    title: str
    conditions: str
    rows: tuple[Row, ...]
    machine: dict[str, str]
    versions: dict[str, str]
    threads: int
    load: float | None
    measured: str

    def write(self, path: Path) -> None:
        content = asdict(self) | {"rows": [asdict(row) | {"times": row.times} for row in self.rows]}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def measured(title: str, conditions: str, rows: list[Row], load: float | None) -> Measurement:
    """Rows that were found just now on this machine."""
    words = " ".join(conditions.split())
    return Measurement(
        title, words, tuple(rows), machine(), versions(), torch.get_num_threads(), load, date.today().isoformat()
    )


def read(path: Path) -> Measurement:
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(row["what"], row["unit"], row["ours"], row["plain"]) for row in content["rows"]]
    return Measurement(**content | {"rows": tuple(rows)})


def load_now() -> float | None:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def machine() -> dict[str, str]:
    """What its figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"CPU": _cpu_name(), "cores": str(cores), "instructions": " ".join(_instructions())}
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        found["GPU"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return found


def folder_name(about: dict[str, str]) -> str:
    """Of a machine's results."""
    name = f"{about.get('GPU') or about['CPU']} {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"OS": _system()}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _cpu_name() -> str:
    if sys.platform == "linux":
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        name = names[0] if names else platform.machine()
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    else:
        name = platform.processor()
    return " ".join(re.sub(r"\((R|TM)\)", "", name).split())


def _instructions() -> list[str]:
    """Those that products of matrices use."""
    if sys.platform != "linux":
        return [torch.backends.cpu.get_cpu_capability().lower()]
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in INSTRUCTIONS if flags and name in flags[1].split()]


def table(rows: tuple[Row, ...]) -> str:
    """Markdown."""
    compared = any(row.plain for row in rows)
    head = "| what | here | plain | |\n|---|---|---|---|\n" if compared else "| what | here |\n|---|---|\n"
    return head + "".join(_line(row, compared) for row in rows)


def _line(row: Row, compared: bool) -> str:
    here = f"{_number(row.ours)}{'' if row.unit in ('', '%') else ' '}{row.unit}"
    if not compared:
        return f"| {row.what} | {here} |\n"
    plain = "" if row.plain is None else _number(row.plain)
    times = "" if row.times is None else f"{row.times:.0f} times" if row.times >= 10 else f"{row.times:.1f} times"
    return f"| {row.what} | {here} | {plain} | {times} |\n"


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
