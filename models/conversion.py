"""Networks in other forms: OpenVINO models to run here, and what `weights.py export` gives to others.

OpenVINO models are made by PyTorch, the generator's also in int8, calibrated on faces and compared with fp32.
calibration.npz holds 64 faces of thirteen speakers of the GRID corpus (CC BY 4.0: Cooke, Barker, Cunningham and Shao,
JASA 120, 2006), cut out and reduced to 96x96, as a sheet of 8x8 in WebP, each with 0.2 s of another one's speech, four
with silence, as mels in 256 levels.

Exported are weights in half precision as safetensors, or a generator as ONNX or OpenVINO model. Such a model takes
faces and mels and gives faces (`faces`, `mels` -> `generated`, see PictureGenerator in models/torch_backend.py), for
batches of any size. Its metadata say how both are made: RULES, and the values of hparams.py that belong to the network.
"""

import json
import logging
import os
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hparams import HParams, hparams
from models.backend import INSTALL, is_installed
from models.openvino_backend import HINTS, OpenVINONetwork, compiled, openvino, supports
from models.torch_backend import Wrapper, hparams_of, load_wrapped, ports
from utils import weight_files
from utils.devices import prefers_bf16
from utils.errors import InputError
from utils.files import atomic_write, devnull, temporary_folder, writable_folder

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


def export(source: Path, target: Path, form: str = "safetensors") -> str:
    """Write a checkpoint's network in a form of SUFFIXES; returns the name of the network."""
    if target.suffix != SUFFIXES[form]:
        raise InputError(f"{target}: give a name that ends in {SUFFIXES[form]}, or another --format")
    _check_place(target, source)
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
    return _write_weights(target, state, content)


def _check_place(target: Path, *sources: Path) -> None:
    """Raises InputError where the file cannot be written, or is one of the sources."""
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
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: give a name that ends in .safetensors")
    if not 0 <= share <= 1:
        raise InputError(f"--share {share:g}: give 0 to 1")
    _check_place(target, first, second)
    content, other = weight_files.read(first), weight_files.read(second)["state_dict"]
    state = content["state_dict"]
    if {name: tensor.shape for name, tensor in state.items()} != {name: tensor.shape for name, tensor in other.items()}:
        raise InputError(f"{second}: is not of the same network as {first}")
    mean = {
        name: (
            torch.lerp(tensor.float(), other[name].float(), share) if tensor.is_floating_point() else tensor
        ).contiguous()
        for name, tensor in state.items()
    }
    return _write_weights(target, mean, content)


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
