"""The generator in int8: calibrated on faces, compared with single precision on them at once.

calibration.npz holds 64 faces of thirteen speakers of the GRID corpus (CC BY 4.0: Cooke, Barker, Cunningham and Shao,
JASA 120, 2006), cut out and reduced to 96x96, as a sheet of 8x8 in WebP, each with 0.2 s of another one's speech, four
with silence, as mels in 256 levels.
"""

import logging
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hparams import hparams
from models.engines.openvino_engine import compiled, openvino

CALIBRATION = Path(__file__).with_name("calibration.npz")
SIDE = 8  # faces along each side of the sheet
LEAST_PSNR = 40.0  # dB against single precision, of every face
BATCH = 8
RANKED_ON = 16  # faces, those that int8 changes most
PARTS = re.compile(r"generator\.((?:face_encoder_blocks|face_decoder_blocks)\.\d+|audio_encoder|output_block)")
TRIES = (2, 5)  # of the parts that lose most, how many stay in floating point


class Quantized(NamedTuple):
    """model: None where int8 is not good enough; worst_psnr: of the face that it changes most, in dB; kept: the parts
    of the generator that stay in floating point."""

    model: Any | None
    worst_psnr: float
    kept: list[str]


def calibration_set() -> tuple[np.ndarray, np.ndarray]:
    """Faces, uint8 BGR [64, 96, 96, 3], and mels, float32 [64, 1, 80, 16]."""
    with np.load(CALIBRATION, allow_pickle=False) as kept:
        sheet, levels = np.asarray(cv2.imdecode(kept["faces"], cv2.IMREAD_COLOR)), kept["mels"]
    size = len(sheet) // SIDE
    faces = sheet.reshape(SIDE, size, SIDE, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    most = hparams.max_abs_value
    return np.ascontiguousarray(faces), (levels.astype(np.float32) / 255 * 2 - 1) * most


def quantized(model: Any, least: float = LEAST_PSNR) -> Quantized:
    """The model with weights and activations in int8, every calibration face at least `least` dB from what it draws in
    single precision: where it is less, the parts that lose most stay in floating point."""
    faces, mels = calibration_set()
    wanted = _draw(model, faces, mels, "fp32")
    whole = _quantize(model, faces, mels, [])
    found = psnr(wanted, _draw(whole, faces, mels, "int8"))
    if found.min() >= least:
        return Quantized(whole, float(found.min()), [])
    worst = np.argsort(found)[:RANKED_ON]
    ranked = _ranked(whole, faces[worst], mels[worst], wanted[worst])
    best, kept = float(found.min()), []
    for count in TRIES:
        kept = ranked[:count]
        partly = _quantize(model, faces, mels, kept)
        best = float(psnr(wanted, _draw(partly, faces, mels, "int8")).min())
        if best >= least:
            return Quantized(partly, best, kept)
    return Quantized(None, best, kept)


def psnr(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Of every picture, uint8 [N, h, w, 3]: float64 [N], in dB."""
    squares = np.square(wanted.astype(np.float64) - found).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(squares, 1e-9))


def _draw(model: Any, faces: np.ndarray, mels: np.ndarray, precision: str) -> np.ndarray:
    network = compiled(model, precision, BATCH)
    parts = [slice(first, first + BATCH) for first in range(0, len(faces), BATCH)]
    return np.concatenate([network((faces[part], mels[part]))[0] for part in parts])


def _quantize(model: Any, faces: np.ndarray, mels: np.ndarray, kept: list[str]) -> Any:
    openvino()  # before NNCF, which imports it
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        import nncf

        nncf.set_log_level(logging.ERROR)
        batches = [(faces[first : first + BATCH], mels[first : first + BATCH]) for first in range(0, len(faces), BATCH)]
        ignored = [name for name, part in _parts(model).items() if part in kept]
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


def _ranked(model: Any, faces: np.ndarray, mels: np.ndarray, wanted: np.ndarray) -> list[str]:
    """The parts of a quantized generator, first that without whose rounding it draws best."""
    parts = list(dict.fromkeys(_parts(model).values()))
    gained = {part: psnr(wanted, _draw(_unrounded(model, part), faces, mels, "int8")).min() for part in parts}
    return sorted(parts, key=lambda part: -gained[part])


def _unrounded(model: Any, part: str) -> Any:
    """A quantized model with what goes into one part's layers left as it is."""
    changed = model.clone()
    names = {name for name, of in _parts(changed).items() if of == part}
    for node in changed.get_ops():
        if node.get_friendly_name() in names:
            for port in node.inputs():
                source = port.get_source_output().get_node()
                if source.get_type_name() == "FakeQuantize":
                    port.replace_source_output(source.input_value(0))
    return changed


def _parts(model: Any) -> dict[str, str]:
    """Every convolution of the generator by its name, and the part that it belongs to."""
    found = {}
    for node in model.get_ops():
        name = node.get_friendly_name()
        match = PARTS.search(name)
        if match and node.get_type_name() in ("Convolution", "ConvolutionBackpropData"):
            found[name] = match[1]
    return found
