"""Weights for others: in half precision as safetensors, or a generator ready to run, as ONNX or OpenVINO model.

A model that is ready takes pictures and mels and gives pictures (`faces`, `mels` -> `generated`, see
models/engines/picture_generator.py), for batches of any size. Its metadata say how both are made: RULES, and the
values of hparams.py that belong to the network.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hparams import HParams
from models.checkpoint import hparams_of
from models.engines import picture_generator as pictures_of
from models.engines.choice import INSTALL, is_installed
from utils import weight_files
from utils.errors import InputError
from utils.files import atomic_write, writable_folder

SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "openvino": ".xml"}
OPSET = 17  # of ONNX
RULES = {
    "faces": "uint8 [N, 96, 96, 3], BGR: the face's box, 10 pixels more below, clipped to the frame, resized to 96x96",
    "mels": "float32 [N, 1, 80, 16]: the 16 columns of the mel spectrogram that start at int(80 * (t - 1/25)), t the "
    "frame's time in seconds, but within the spectrogram",
    "mel": "16 kHz mono in -1..1; pre-emphasis; centred STFT, Hann window, reflect padding; amplitudes in Slaney mel "
    "bands; decibels 20*log10(max(1e-5, x)) - ref_level_db; min_level_db..0 dB to -max_abs_value..max_abs_value, "
    "clipped; values in hparams",
    "generated": "uint8 [N, 96, 96, 3], BGR: the same faces, their lower halves speaking",
}


def export(source: Path, target: Path, form: str = "safetensors") -> str:
    """Write a checkpoint's network in a form of SUFFIXES; returns what network it is, in words."""
    if target.suffix != SUFFIXES[form]:
        raise InputError(f"{target}: give a name that ends in {SUFFIXES[form]}, or another --format")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target}: is the file to export; give another name")
    writable_folder(target.parent, "OUT")
    writers: dict[str, Callable[[Path, Path], str]]
    writers = {"safetensors": _safetensors, "onnx": _onnx, "openvino": _openvino}
    return writers[form](source, target)


def _safetensors(source: Path, target: Path) -> str:
    content = weight_files.read(source)
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in content["state_dict"].items()
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise InputError(f"{source}: has values that half precision cannot hold; share the file itself")
    metadata = {"hparams": json.dumps(hparams_of(content).network_values())}
    if isinstance(content.get("generator"), str):  # a refiner belongs to one
        metadata["generator"] = content["generator"]
    weight_files.write_safetensors(target, state, metadata)
    return weight_files.identify(state)


def _onnx(source: Path, target: Path) -> str:
    if not is_installed("onnx"):
        raise InputError("--format onnx: the package onnx is not installed; python -m pip install onnx")
    import onnx

    pictures, hp, metadata = _generator(source)
    names = [*pictures_of.INPUTS, pictures_of.OUTPUT]
    with atomic_write(target) as temporary:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer: that sizes become constants, as they are meant to
            torch.onnx.export(
                pictures,
                pictures.example(hp.img_size, (hp.num_mels, hp.mel_window)),
                str(temporary),
                input_names=names[:-1],
                output_names=names[-1:],
                dynamic_axes={name: {0: "N"} for name in names},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs a package more, and gains nothing here
            )
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, temporary)
    return "a generator (Wav2Lip)"


def _openvino(source: Path, target: Path) -> str:
    if not is_installed("openvino"):
        raise InputError(f"--format openvino: OpenVINO is not installed; {INSTALL}")
    from models.engines.conversion import convert_generator
    from models.engines.openvino_engine import openvino

    pictures, hp, metadata = _generator(source)
    model = convert_generator(pictures, hp)
    for name, text in metadata.items():
        model.set_rt_info(text, ["wav2lip", name])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            openvino().save_model(model, Path(folder) / target.name, compress_to_fp16=True)
        except RuntimeError as error:  # in OpenVINO's words, which name neither the disk nor the file
            raise InputError(f"{target}: cannot be written; is the disk full? ({error})") from error
        for suffix in (".bin", ".xml"):  # the model's own file last
            os.replace(Path(folder, target.name).with_suffix(suffix), target.with_suffix(suffix))
    return "a generator (Wav2Lip)"


def _generator(source: Path) -> tuple[Any, HParams, dict[str, str]]:
    """The generator of a checkpoint as a PictureGenerator, its values, and what the metadata say."""
    from models.engines.conversion import picture_generator

    pictures, content = picture_generator(source, "")
    hp = HParams.from_dict(content["hparams"])
    return pictures, hp, RULES | {"hparams": json.dumps(hp.network_values())}
