"""The generator in int8: calibrated on faces, compared with single precision on them at once.

calibration.npz holds 64 faces of thirteen speakers of the GRID corpus (CC BY 4.0: Cooke, Barker, Cunningham and Shao,
JASA 120, 2006), cut out and reduced to 96x96, as a sheet of 8x8 in WebP, each with 0.2 s of another one's speech, four
with silence, as mels in 256 levels.
"""

import logging
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hparams import hparams
from models.engines.openvino_engine import compiled, openvino
from utils.files import devnull

CALIBRATION = Path(__file__).with_name("calibration.npz")
SIDE = 8  # faces along each side of the sheet
LEAST_PSNR = 40.0  # dB against single precision, of every face
BATCH = 8
# The parts of the generator that stay in floating point where all in int8 is not good enough: they stand next to the
# pictures, so that nothing after them evens out their rounding. To try each part by itself takes a minute and tells
# little: in the bundled weights no part of the sixteen changes the worst face by more than 0.6 dB
KEPT = ("face_encoder_blocks.0", "face_decoder_blocks.6", "output_block")
CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData")


class Quantized(NamedTuple):
    """model: None where int8 is not good enough; worst_psnr: of the face that it changes most, in dB; kept: the parts
    of the generator that stay in floating point."""

    model: Any | None
    worst_psnr: float
    kept: tuple[str, ...]


def calibration_set() -> tuple[np.ndarray, np.ndarray]:
    """Faces, uint8 BGR [64, 96, 96, 3], and mels, float32 [64, 1, 80, 16]."""
    with np.load(CALIBRATION, allow_pickle=False) as kept:
        sheet, levels = np.asarray(cv2.imdecode(kept["faces"], cv2.IMREAD_COLOR)), kept["mels"]
    size = len(sheet) // SIDE
    faces = sheet.reshape(SIDE, size, SIDE, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    most = hparams.max_abs_value
    return np.ascontiguousarray(faces), (levels.astype(np.float32) / 255 * 2 - 1) * most


def quantized(model: Any, number_format: str, least: float = LEAST_PSNR) -> Quantized:
    """The model with weights and activations in int8, every calibration face at least `least` dB from what it draws in
    single precision: where it is less, KEPT stays in floating point, in number_format."""
    faces, mels = calibration_set()
    wanted = _draw(model, faces, mels, "fp32")
    worst = 0.0
    for kept in ((), KEPT):
        rounded = _quantize(model, faces, mels, kept)
        worst = float(psnr(wanted, _draw(rounded, faces, mels, number_format)).min())
        if worst >= least:
            return Quantized(rounded, worst, kept)
    return Quantized(None, worst, KEPT)


def psnr(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Of every picture, uint8 [N, h, w, 3]: float64 [N], in dB."""
    squares = np.square(wanted.astype(np.float64) - found).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(squares, 1e-9))


def _draw(model: Any, faces: np.ndarray, mels: np.ndarray, number_format: str) -> np.ndarray:
    network = compiled(model, number_format, BATCH)
    parts = [slice(first, first + BATCH) for first in range(0, len(faces), BATCH)]
    return np.concatenate([network((faces[part], mels[part]))[0] for part in parts])


def _quantize(model: Any, faces: np.ndarray, mels: np.ndarray, kept: tuple[str, ...]) -> Any:
    openvino()  # before NNCF, which imports it
    with devnull() as hidden, redirect_stdout(hidden), redirect_stderr(hidden):
        import nncf

        nncf.set_log_level(logging.ERROR)
        batches = [(faces[first : first + BATCH], mels[first : first + BATCH]) for first in range(0, len(faces), BATCH)]
        ignored = _convolutions(model, kept)
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


def _convolutions(model: Any, parts: tuple[str, ...]) -> list[str]:
    """The names of all convolutions of these parts of the generator."""
    named = ((node.get_friendly_name(), node.get_type_name()) for node in model.get_ops())
    inside = tuple(f"generator.{part}." for part in parts)
    return [name for name, kind in named if kind in CONVOLUTIONS and any(part in name for part in inside)]
