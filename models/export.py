"""What `weights.py` makes of a checkpoint: its weights for others, the mean of two, or a livelier generator.

Exported are weights in half precision as safetensors, or a generator as ONNX or OpenVINO model. Such a model takes
faces and mels and gives faces (`faces`, `mels` -> `generated`, see PictureGenerator in models/torch_backend.py), for
batches of any size. Its metadata say how both are made: RULES, and the values of hparams.py that belong to the network.
"""

import json
import os
import warnings
from pathlib import Path

import torch

from hparams import HParams
from models.backend import INSTALL, is_installed
from models.conversion import to_openvino
from models.openvino_backend import openvino
from models.torch_backend import Wrapper, hparams_of, load_wrapped, ports
from models.wav2lip import amplified
from utils import weight_files
from utils.errors import InputError
from utils.files import atomic_write, temporary_folder, writable_folder

MOST_GAIN = 4.0  # of amplify()
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
    _check_place(target, SUFFIXES[form], source, advice=", or another --format")
    if form == "safetensors":
        return _safetensors(source, target)
    if not is_installed(form):
        install = "python -m pip install onnx" if form == "onnx" else INSTALL
        raise InputError(f"--format {form}: the package {form} is not installed; {install}")
    (generator,), loaded = load_wrapped("generator", source)
    metadata = RULES | {"hparams": json.dumps(loaded.hp.network_values())}
    write = {"onnx": _onnx, "openvino": _openvino}[form]
    write(generator, loaded.hp, target, metadata)
    return weight_files.GENERATOR


def _safetensors(source: Path, target: Path) -> str:
    content = weight_files.read(source)
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in content["state_dict"].items()
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise InputError(f"{source}: has values that half precision cannot hold; share the file itself")
    return _write_weights(target, state, content)


def _check_place(target: Path, suffix: str, *sources: Path, advice: str = "") -> None:
    """Raises InputError where the file cannot be written, is called otherwise, or is one of the sources."""
    if target.suffix != suffix:
        raise InputError(f"{target}: give a name that ends in {suffix}{advice}")
    if target.exists() and any(source.exists() and target.samefile(source) for source in sources):
        raise InputError(f"{target}: is a file to read; give another name")
    writable_folder(target.parent, "OUT")


def _write_weights(target: Path, state: dict[str, torch.Tensor], content: dict) -> str:
    """content: of the checkpoint that the weights come from; returns the name of the network. Raises InputError for
    weights of none that is known."""
    network = weight_files.identify(state)
    if network == weight_files.UNKNOWN:
        raise InputError(f"{content['source']}: is {network}")
    metadata = {"hparams": json.dumps(hparams_of(content).network_values())}
    weight_files.write_safetensors(target, state, metadata)
    return network


def average(first: Path, second: Path, target: Path, share: float) -> str:
    """Write the weights of two trainings of one network, averaged, `share` of them the second's (0..1), statistics of
    batch norms included; returns the name of the network."""
    if not 0 <= share <= 1:
        raise InputError(f"--share {share:g}: give 0 to 1")
    _check_place(target, SUFFIXES["safetensors"], first, second)
    content, other = weight_files.read(first), weight_files.read(second)["state_dict"]
    state = content["state_dict"]
    if {name: tensor.shape for name, tensor in state.items()} != {name: tensor.shape for name, tensor in other.items()}:
        raise InputError(f"{second}: is not of the same network as {first}")
    mean = {
        name: torch.lerp(tensor.float(), other[name].float(), share) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    return _write_weights(target, mean, content)


def amplify(source: Path, target: Path, motion: float, contrast: float) -> str:
    """Write a generator's weights amplified (models/wav2lip.py); returns the name of the network."""
    for name, gain in {"motion": motion, "contrast": contrast}.items():
        if not 0 < gain <= MOST_GAIN:
            raise InputError(f"--{name} {gain:g}: give a factor above 0, at most {MOST_GAIN:g}; 1 changes nothing")
    _check_place(target, SUFFIXES["safetensors"], source)
    content = weight_files.read(source)
    if (network := weight_files.identify(content["state_dict"])) != weight_files.GENERATOR:
        raise InputError(f"{source}: is {network}; only generators are amplified")
    return _write_weights(target, amplified(content["state_dict"], motion, contrast), content)


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
