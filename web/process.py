"""Scripts of the project as jobs: what runs long, or wants signals, has a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

from models.published import ROOT
from utils.errors import InputError
from web.jobs import Cancelled, Control

LOG = "log.txt"  # in the job's folder: what the script printed
TAIL = 12  # lines that the page shows of it
LOOK_EVERY = 0.2  # seconds
GRACE = 60  # seconds that a script has to end in when it is asked to: a training writes a checkpoint


def run_script(control: Control, script: str, *arguments: str | Path) -> int:
    """Run a script to its end; returns its exit code. Raises InputError with the script's own line where that is 2,
    Cancelled where the job was cancelled: the script is asked to end, as by Ctrl-C."""
    control.job.stage = script.removesuffix(".py").replace("_", " ")
    log = control.folder / LOG
    command = [sys.executable, "-u", str(ROOT / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env=environment)  # fmt: skip
        try:
            while process.poll() is None:
                if control.cancelled:
                    raise Cancelled
                time.sleep(LOOK_EVERY)
        finally:
            _end(process)
    if process.returncode not in (0, 1):
        raise InputError(_reason(log))
    return process.returncode


def tail(folder: Path) -> str:
    """The last lines of what the job's script printed."""
    path = folder / LOG
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return "\n".join([line for line in lines if line.strip()][-TAIL:])


def _end(process: subprocess.Popen) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(log: Path) -> str:
    """The line in which the script said why it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else next((line for line in reversed(lines) if line.strip()), "ended without a word")
