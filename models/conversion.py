"""Networks as OpenVINO models, the generator's also in int8, calibrated on faces and compared with fp32.

PyTorch makes them. calibration.npz holds 64 faces of thirteen speakers of the GRID corpus (CC BY 4.0: Cooke, Barker,
Cunningham and Shao, JASA 120, 2006), cut out and reduced to 96x96, as a sheet of 8x8 in WebP, each with 0.2 s of
another one's speech, four with silence, as mels in 256 levels.
"""

import logging
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hparams import HParams, hparams
from models.openvino_backend import HINTS, OpenVINONetwork, compiled, openvino, supports
from models.torch_backend import Wrapper, load_wrapped, ports
from utils.devices import prefers_bf16
from utils.files import devnull

CALIBRATION = Path(__file__).with_name("calibration.npz")
SIDE = 8  # faces along each side of the sheet
BATCH = 8
LEAST_PSNR = 40.0  # dB against fp32, of every calibration face
# The parts of the generator that stay in floating point where all in int8 is not good enough: they stand next to the
# pictures, so that nothing after them evens out their rounding. To try each part by itself takes a minute and tells
# little: in the bundled weights no part of the sixteen changes the worst face by more than 0.6 dB
KEPT = ("face_encoder_blocks.0", "face_decoder_blocks.6", "output_block")
CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")
TRIAL_BATCH, TRIALS = 4, 3


def convert(kind: str, path: Path, overrides: str, dtype: str) -> tuple[list[Any], dict]:
    """The models of a weight file's networks, as backend.load lists them, and what is known of them: `hparams` and
    `fingerprint` as in Loaded; `dtype`; `float_dtype`, of what is not int8; where int8 was tried, the worst face's
    `psnr`.

    dtype: fp32, bf16, float (the faster of these), int8 (if accurate enough, else float), auto (if faster, too).
    """
    modules, loaded = load_wrapped(kind, path, overrides)
    models = [to_openvino(module, loaded.hp) for module in modules]
    if dtype in HINTS:
        float_dtype = dtype
    else:
        float_dtype = "bf16" if supports("bf16") and prefers_bf16(torch.device("cpu")) else "fp32"
    about: dict[str, Any] = {
        "hparams": loaded.hp.to_dict(), "fingerprint": loaded.fingerprint, "dtype": float_dtype,
        "float_dtype": float_dtype,
    }  # fmt: skip
    if dtype in ("int8", "auto"):
        int8, about["psnr"] = quantized(models[0], float_dtype)
        if int8 and (dtype == "int8" or is_faster(int8, models[0], float_dtype)):
            return [int8], about | {"dtype": "int8"}
    return models, about


def to_openvino(module: Wrapper, hp: HParams) -> Any:
    """A wrapper of models/torch_backend.py as an OpenVINO model, for batches of any size, its ports named."""
    example, output = ports(module, hp)
    inputs = tuple(example.values())
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: that sizes become constants, as they are meant to
        model = openvino().convert_model(
            module.eval(), example_input=inputs, input=[(-1, *given.shape[1:]) for given in inputs]
        )
    for port, name in zip((*model.inputs, *model.outputs), (*example, output), strict=True):
        port.tensor.set_names({name})
    return model


def is_faster(int8: Any, model: Any, dtype: str) -> bool:
    """Whether a small batch takes less time in int8 than with the model in dtype; they take turns."""
    networks = [compiled(candidate, dtype, TRIAL_BATCH) for candidate in (int8, model)]
    inputs = [np.zeros(tuple(port.shape), port.element_type.to_dtype()) for port in networks[0].inputs]
    seconds: list[list[float]] = [[], []]
    for _ in range(TRIALS + 1):
        for network, taken in zip(networks, seconds, strict=True):
            began = time.perf_counter()
            network(inputs)
            taken.append(time.perf_counter() - began)
    of_int8, of_float = (min(taken[1:]) for taken in seconds)  # the first one takes longer
    return of_int8 < of_float


def calibration_set() -> tuple[np.ndarray, np.ndarray]:
    """Faces, uint8 BGR [64, 96, 96, 3], and mels, float32 [64, 1, 80, 16]."""
    with np.load(CALIBRATION, allow_pickle=False) as file:
        sheet, levels = np.asarray(cv2.imdecode(file["faces"], cv2.IMREAD_COLOR)), file["mels"]
    size = len(sheet) // SIDE
    faces = sheet.reshape(SIDE, size, SIDE, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    return np.ascontiguousarray(faces), (levels.astype(np.float32) / 255 * 2 - 1) * hparams.max_abs_value


def quantized(model: Any, float_dtype: str) -> tuple[Any | None, float]:
    """The generator in int8, and the PSNR in dB, against fp32, of the calibration face that it changes most. Where that
    is too low the parts KEPT stay in float_dtype; None where that is not enough."""
    faces, mels = calibration_set()
    batches = [(faces[first : first + BATCH], mels[first : first + BATCH]) for first in range(0, len(faces), BATCH)]
    wanted, worst = OpenVINONetwork(model, "fp32", BATCH)(faces, mels), 0.0
    for kept in ((), KEPT):
        int8 = _quantize(model, batches, kept)
        found = OpenVINONetwork(int8, float_dtype, BATCH)(faces, mels)
        worst = min(map(cv2.PSNR, wanted, found))
        if worst >= LEAST_PSNR:
            return int8, worst
    return None, worst


def _quantize(model: Any, batches: list[tuple], kept: tuple[str, ...]) -> Any:
    openvino()  # before NNCF, which imports it
    with devnull() as hidden, redirect_stdout(hidden):
        import nncf

        nncf.set_log_level(logging.ERROR)
        ignored = convolutions(model, kept)
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            # NNCF's correction of biases takes 6 dB away here: faces of people who are not among the 64 have 38 dB at
            # least with it, 43 without
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
            ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
        )


def convolutions(model: Any, parts: tuple[str, ...]) -> list[str]:
    """The names of all convolutions of these parts of the generator."""
    named = ((node.get_friendly_name(), node.get_type_name()) for node in model.get_ops())
    return [name for name, kind in named if kind in CONVOLUTIONS and any(f"network.{part}." in name for part in parts)]
