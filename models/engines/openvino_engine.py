"""The generator run by OpenVINO on the CPU. PyTorch is imported when weights are used for the first time, to convert
them; afterwards what it made of them is read from the user's cache folder (store.py)."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hparams import HParams
from models.engines import store
from models.engines.choice import is_installed
from models.engines.generator import with_upper_rows
from utils.errors import InputError, warn

BATCH = 16
HINTS = {"fp32": "f32", "bf16": "bf16"}
CAPABILITIES = {"bf16": "BF16", "int8": "INT8"}  # what OpenVINO calls them


def openvino() -> Any:
    """The package. Where openvino_telemetry is installed it would report every import and conversion to its makers,
    unless asked not to; it does without that package."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as package

    return package


class OpenVINOGenerator:
    """model: a PictureGenerator as an OpenVINO model; precision: fp32, bf16 or int8; batch_size: how many frames at
    once, always, fewer being filled up: a model of one size is the fastest, and a face does not depend on how many
    come with it."""

    engine, device, halved = "openvino", "cpu", 0

    def __init__(self, model: Any, precision: str, batch_size: int) -> None:
        self.precision, self.batch_size = precision, batch_size
        self.network = compiled(model, precision, batch_size)

    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """As a GeneratorEngine."""
        drawn = [
            self._draw(faces[first : first + self.batch_size], mels[first : first + self.batch_size])
            for first in range(0, len(faces), self.batch_size)
        ]
        return with_upper_rows(np.concatenate(drawn), faces)

    def _draw(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        rows = np.arange(self.batch_size) % len(faces)
        return self.network((faces[rows], mels[rows]))[0][: len(faces)]


def load(
    path: Path, sha256: str, precision: str, batch_size: int | None, first_row: int, overrides: str
) -> tuple[OpenVINOGenerator, HParams]:
    """Arguments as of load_generator."""
    wanted = _number_format(precision)
    key = {"weights": sha256, "first_row": first_row, "hparams": overrides, "int8": wanted == "int8"}
    model, about = store.prepared(key, lambda: prepare(path, overrides, first_row, wanted == "int8"))
    if wanted == "int8" and not about["int8"]:
        wanted = _float_format()
        warn(f"{path}: int8 is too far from fp32 ({about['worst_psnr']:.1f} dB), {wanted} is used")
    generator = OpenVINOGenerator(model, wanted, batch_size or BATCH)
    return generator, HParams.from_dict(about["hparams"]).override(overrides)


def prepare(path: Path, overrides: str, first_row: int, int8: bool) -> tuple[Any, dict]:
    """The weights of a file as an OpenVINO model, and what there is to know of it: the `hparams` saved with them,
    whether it is `int8`, and if that was wanted the `worst_psnr`, and which parts stay in floating point."""
    from models.engines.conversion import convert, picture_generator

    pictures, saved = picture_generator(path, overrides, first_row)
    model, about = convert(pictures, HParams.from_dict(saved).override(overrides)), {"hparams": saved, "int8": False}
    if not int8:
        return model, about
    from models.engines.quantization import quantized

    print(f"{path}: calibrated for int8, once for these weights ...", file=sys.stderr, flush=True)
    result = quantized(model)
    about |= {"worst_psnr": round(result.worst_psnr, 2), "kept": result.kept}
    return (model, about) if result.model is None else (result.model, about | {"int8": True})


def compiled(model: Any, precision: str, batch_size: int) -> Any:
    """The model ready to run on batches of one size. precision: fp32 or bf16; int8, for a model that has been
    quantized, computes in the format of _float_format what is not."""
    whole = model.clone()
    whole.reshape({port.any_name: [batch_size, *list(port.partial_shape)[1:]] for port in whole.inputs})
    hint = HINTS[_float_format() if precision == "int8" else precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    return openvino().Core().compile_model(whole, "CPU", settings)


def _number_format(precision: str) -> str:
    """fp32, bf16 or int8; "auto" comes to the fastest here that is good enough."""
    if precision == "auto":
        return "int8" if _has("int8") and is_installed("nncf") else _float_format()
    if precision in CAPABILITIES and not _has(precision):
        raise InputError(f"--precision {precision}: this CPU does not multiply {precision}; use fp32")
    return precision


def _float_format() -> str:
    return "bf16" if _has("bf16") else "fp32"


def _has(precision: str) -> bool:
    return CAPABILITIES[precision] in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
