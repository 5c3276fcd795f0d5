"""The networks run by OpenVINO on the CPU, without PyTorch: what is made of their weights is kept (store.py)."""

import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hparams import HParams
from models.engines import store
from models.engines.choice import is_installed
from models.engines.networks import Encoders, RefinerNetwork
from utils.errors import InputError, warn
from utils.files import sha256

BATCH, WINDOWS, REFINED = 8, 16, 4  # faces, windows and faces to be refined at once
HINTS = {"fp32": "f32", "bf16": "bf16"}
CAPABILITIES = {"bf16": "BF16", "int8": "INT8"}  # what OpenVINO calls them
TRIED, TRIALS = 4, 3  # rows of a batch that a number format is tried on, and how often
WORTH_BF16 = 1.25  # times as fast as fp32


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


class OpenVINONetwork:
    """An ArrayNetwork. model: of store.prepared; number_format: fp32 or bf16, of what is not int8; batch_size: how many
    rows at once, always, fewer being filled up: a model of one size is the fastest, and rows do not depend on each
    other."""

    def __init__(self, model: Any, number_format: str, batch_size: int) -> None:
        self.batch_size, self.network = batch_size, compiled(model, number_format, batch_size)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        count = len(inputs[0])
        parts = [slice(first, first + self.batch_size) for first in range(0, count, self.batch_size)]
        done = [self.network([self._filled(array[part]) for array in inputs])[0] for part in parts]
        return np.concatenate(done)[:count]

    def _filled(self, rows: np.ndarray) -> np.ndarray:
        whole = rows if len(rows) == self.batch_size else rows[np.arange(self.batch_size) % len(rows)]
        return np.ascontiguousarray(whole)


class OpenVINOGenerator:
    """precision: fp32, bf16 or int8; weights: their fingerprint; others: as OpenVINONetwork, of a PictureGenerator."""

    engine, device, halved = "openvino", "cpu", 0

    def __init__(self, model: Any, precision: str, number_format: str, batch_size: int, weights: str) -> None:
        self.precision, self.batch_size, self.weights = precision, batch_size, weights
        self.network = OpenVINONetwork(model, number_format, batch_size)

    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """As a GeneratorEngine."""
        return self.network(faces, mels)

    def fingerprint(self) -> str:
        """As a GeneratorEngine."""
        return self.weights


def load(
    path: Path, digest: str, precision: str, batch_size: int | None, overrides: str
) -> tuple[OpenVINOGenerator, HParams]:
    """Arguments as of load_generator."""
    int8 = _is_here("int8") and is_installed("nncf") if precision == "auto" else precision == "int8"
    if precision != "auto":
        _check(precision)
    settings = {"overrides": overrides, "int8": int8}
    models, about = store.prepared("generator", path, digest, **settings)
    if precision == "auto" and about["int8"] and not about["faster"]:
        return load(path, digest, about["fastest"], batch_size, overrides)
    number_format = precision if precision in HINTS else about["fastest"]
    precision = "int8" if about["int8"] else number_format
    if int8 and precision != "int8":
        warn(f"{path}: int8 is too far from fp32 ({about['worst_psnr']:.1f} dB), {precision} is used")
    hp = HParams.from_dict(about["hparams"]).override(overrides)
    size = batch_size or BATCH
    return OpenVINOGenerator(models["generator"], precision, number_format, size, about["fingerprint"]), hp


def load_encoders(path: Path) -> tuple[Encoders, HParams]:
    """As networks.load_encoders."""
    models, about = store.prepared("encoders", path, sha256(path))
    faces, mels = (OpenVINONetwork(models[name], about["fastest"], WINDOWS) for name in ("faces", "mels"))
    return Encoders(faces, mels), HParams.from_dict(about["hparams"])


def load_refiner(path: Path, precision: str) -> RefinerNetwork:
    """As networks.load_refiner."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    models, about = store.prepared("refiner", path, sha256(path))
    number_format = precision if precision in HINTS else about["fastest"]
    network = OpenVINONetwork(models["refiner"], number_format, REFINED)
    return RefinerNetwork(network, HParams.from_dict(about["hparams"]), about["generator"])


def compiled(model: Any, number_format: str, batch_size: int) -> Any:
    """The model ready to run on batches of one size, what is not int8 in fp32 or bf16."""
    whole = model.clone()
    whole.reshape({port.any_name: [batch_size, *list(port.partial_shape)[1:]] for port in whole.inputs})
    hint = HINTS[number_format]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    return core().compile_model(whole, "CPU", settings)


def fastest_format(model: Any) -> str:
    """bf16 where this CPU is much faster with it on this model, else fp32. Processors that have the instructions may
    need twice as long with them."""
    if not _is_here("bf16"):
        return "fp32"
    seconds = trial_seconds({name: (model, name) for name in HINTS})
    return "bf16" if WORTH_BF16 * seconds["bf16"] < seconds["fp32"] else "fp32"


def trial_seconds(candidates: dict[str, tuple[Any, str]]) -> dict[str, float]:
    """Seconds that a small batch takes with models of the same inputs in number formats, each tried in its turn."""
    networks = {name: compiled(model, number_format, TRIED) for name, (model, number_format) in candidates.items()}
    types = {"u8": np.uint8, "f32": np.float32}
    inputs = [
        np.zeros((TRIED, *(int(side.get_length()) for side in list(port.partial_shape)[1:])),
                 types[port.element_type.get_type_name()])
        for port in next(iter(candidates.values()))[0].inputs
    ]  # fmt: skip
    seconds = dict.fromkeys(networks, float("inf"))
    for trial in range(TRIALS + 1):
        for name, network in networks.items():
            began = time.perf_counter()
            network(inputs)
            if trial:  # the first one takes longer
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


def _check(precision: str) -> None:
    if precision in CAPABILITIES and not _is_here(precision):
        raise InputError(f"--precision {precision}: this CPU does not multiply {precision}; use fp32")


def _is_here(precision: str) -> bool:
    return CAPABILITIES[precision] in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
