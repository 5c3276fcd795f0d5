"""The networks run by OpenVINO on the CPU.

Models are converted once, which needs PyTorch (models/conversion.py). They are kept in the user's cache folder
and found again by what they were made of, so that later runs do not import PyTorch.
"""

import hashlib
import json
import sys
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hparams import HParams
from models.backend import Backend, Loaded, is_installed
from utils.errors import InputError, warn
from utils.files import atomic_write, cache_folder, existing_file, sha256

BATCH_SIZES = {"generator": 8, "expert": 16, "occlusion": 1}
HINTS = {"fp32": "f32", "bf16": "bf16"}  # what OpenVINO calls the dtypes
CAPABILITIES = {"bf16": "BF16", "int8": "INT8"}
FORMAT = 5  # of what the cache folder holds; a change makes all models be converted again


def openvino() -> Any:
    """The package. Where openvino_telemetry is installed it would report every import and conversion to its makers,
    unless asked not to; it does without that package."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as package

    return package


@cache
def core() -> Any:
    """The one Core of this process. Each has the thread that makes it handle signals on a stack of the Core's own, and
    where several end in any order one that is freed already stays in use: Ctrl-C would crash."""
    return openvino().Core()


def supports(dtype: str) -> bool:
    """Whether this CPU has instructions for it."""
    return CAPABILITIES[dtype] in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled(model: Any, dtype: str, batch_size: int) -> Any:
    """The model ready to run on batches of one size; what is not int8 runs in dtype, fp32 or bf16."""
    sized = model.clone()
    sized.reshape({port.any_name: [batch_size, *list(port.partial_shape)[1:]] for port in sized.inputs})
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[dtype], "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    return core().compile_model(sized, "CPU", settings)


class OpenVINONetwork:
    """An ArrayNetwork. Batches always have one size, which is fastest; short ones are filled up."""

    oom_retries = 0

    def __init__(self, model: Any, dtype: str, batch_size: int) -> None:
        self.batch_size, self.network = batch_size, compiled(model, dtype, batch_size)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        count, size = len(inputs[0]), self.batch_size
        done = []
        for first in range(0, count, size):
            rows = first + np.arange(size) % min(size, count - first)
            done.append(self.network([np.ascontiguousarray(array[rows]) for array in inputs])[0])
        return np.concatenate(done)[:count]


def load(kind: str, path: Path, backend: Backend, overrides: str, batch_size: int | None) -> Loaded:
    """As backend.load."""
    dtype = backend.dtype
    if dtype in CAPABILITIES and not supports(dtype):
        raise InputError(f"--precision {dtype}: this CPU has no instructions for {dtype}; use fp32")
    if dtype == "auto" and not (kind == "generator" and is_installed("nncf") and supports("int8")):
        dtype = "float"
    models, about = _converted(kind, path, overrides, dtype)
    if dtype == "int8" and about["dtype"] != "int8":
        psnr = f"{about['psnr']:.1f} dB"
        warn(f"{path}: int8 differs too much from fp32 ({psnr}); {about['dtype']} is used")
    networks = tuple(OpenVINONetwork(model, about["float_dtype"], batch_size or BATCH_SIZES[kind]) for model in models)
    hp, used = HParams.from_dict(about["hparams"]), Backend("openvino", about["dtype"], "cpu")
    return Loaded(networks, hp, used, about["fingerprint"])


def _converted(kind: str, path: Path, overrides: str, dtype: str) -> tuple[list[Any], dict]:
    """The models of a weight file and what is known of them (conversion.convert), from the cache folder or
    converted now."""
    processor = core().get_property("CPU", "FULL_DEVICE_NAME")
    made_of = FORMAT, openvino().get_version(), processor, kind, sha256(existing_file(path)), overrides, dtype
    kept = cache_folder("openvino") / f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()}.npz"
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):  # none, or a damaged one
        return _read(kept)
    print(f"{path}: converting for OpenVINO, once (about 10 s, int8 30 s) ...", file=sys.stderr, flush=True)
    models, about = import_module("models.conversion").convert(kind, path, overrides, dtype)
    try:
        _write(kept, models, about)
    except (OSError, RuntimeError) as error:  # RuntimeError is OpenVINO's for a full disk
        warn(f"{kept.parent}: cannot keep the converted weights ({error}); every run converts them again")
    return models, about


def _write(path: Path, models: list[Any], about: dict) -> None:
    """Keep models in one zip archive, whose checksums show damage."""
    parts = [json.dumps(about).encode()]
    with tempfile.TemporaryDirectory() as folder:  # OpenVINO writes only to disk
        for model in models:
            xml = Path(folder, "model.xml")
            openvino().save_model(model, xml, compress_to_fp16=False)
            parts += [xml.read_bytes(), xml.with_suffix(".bin").read_bytes()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        np.savez(temporary, *(np.frombuffer(part, np.uint8) for part in parts))


def _read(path: Path) -> tuple[list[Any], dict]:
    """What `_write` was given. The models are read into memory: a file that is mapped ends the process when something
    else cuts it off."""
    with np.load(path, allow_pickle=False) as file:
        about, *parts = (file[f"arr_{number}"].tobytes() for number in range(len(file.files)))
    return [core().read_model(*model) for model in zip(parts[::2], parts[1::2], strict=True)], json.loads(about)
