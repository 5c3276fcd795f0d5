"""Weights for others: in half precision as safetensors, or a generator ready to run, as ONNX or OpenVINO model.

A model that is ready takes faces and mels and gives faces (`faces`, `mels` -> `generated`, see PictureGenerator in
models/torch_backend.py), for batches of any size. Its metadata say how both are made: RULES, and the
values of hparams.py that belong to the network.
"""

import json
import os
import warnings
from pathlib import Path

import torch

from hparams import HParams
from models.backend import INSTALL, is_installed
from models.torch_backend import Wrapper, hparams_of, load_wrapped, ports
from utils import weight_files
from utils.errors import InputError
from utils.files import atomic_write, temporary_folder, writable_folder

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
    """Write a checkpoint's network in a form of SUFFIXES; returns the name of the network."""
    if target.suffix != SUFFIXES[form]:
        raise InputError(f"{target}: give a name that ends in {SUFFIXES[form]}, or another --format")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target}: is the file to export; give another name")
    writable_folder(target.parent, "OUT")
    if form == "safetensors":
        return _safetensors(source, target)
    if not is_installed(form):
        install = "python -m pip install onnx" if form == "onnx" else INSTALL
        raise InputError(f"--format {form}: the package {form} is not installed; {install}")
    (generator,), loaded = load_wrapped("generator", source)
    metadata = RULES | {"hparams": json.dumps(loaded.hp.network_values())}
    write = {"onnx": _onnx, "openvino": _openvino}[form]
    write(generator, loaded.hp, target, metadata)
    return "a generator (Wav2Lip)"


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


def _onnx(generator: Wrapper, hp: HParams, target: Path, metadata: dict[str, str]) -> None:
    import onnx

    example, output = ports(generator, hp)
    with atomic_write(target) as temporary:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer: that sizes become constants, as they are meant to
            torch.onnx.export(
                generator,
                tuple(example.values()),
                str(temporary),
                input_names=[*example],
                output_names=[output],
                dynamic_axes={name: {0: "N"} for name in (*example, output)},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs a package more, and gains nothing here
            )
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, temporary)


def _openvino(generator: Wrapper, hp: HParams, target: Path, metadata: dict[str, str]) -> None:
    from models.openvino_conversion import openvino, to_openvino

    model = to_openvino(generator, hp)
    for name, text in metadata.items():
        model.set_rt_info(text, ["wav2lip", name])
    with temporary_folder(target.parent) as folder:
        try:
            openvino().save_model(model, folder / target.name)  # in half precision
        except RuntimeError as error:  # as on a full disk
            raise InputError(f"{target}: cannot be written ({error})") from error
        for suffix in (".bin", ".xml"):
            os.replace(folder / target.with_suffix(suffix).name, target.with_suffix(suffix))
