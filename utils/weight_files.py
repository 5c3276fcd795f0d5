"""Weight files: every known form is read, none is executed; files are written so that a crash loses nothing.

Forms that are read: the published dict (`state_dict`, `optimizer`, `global_step`, `global_epoch`), a bare state dict,
either with `module.` before its names, safetensors, and TorchScript archives.
"""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from utils import torchscript
from utils.errors import InputError
from utils.files import atomic_write
from utils.weight_kinds import HEAD, LFS_POINTER, REFINER, WEB_PAGE, identify, no_weights, unwrapped

NO_WEIGHTS = {  # what is no weight file -> what to do about it
    "empty": "; download it again",
    LFS_POINTER: ", not the weights; fetch the file itself with `git lfs pull`",
    WEB_PAGE: ", not weights; download the file itself",
}


def read(path: str | Path, mapped: bool = False) -> dict:
    """A weight file of any known form as the published dict, tensors on the CPU: `state_dict` without wrapper
    prefixes, `optimizer` (None if absent), `global_step`, `global_epoch`, and whatever else the file has.

    mapped: leave tensors in the file till they are used, where it allows that; it must not be changed meanwhile.

    Raises InputError that says what is wrong with the file.
    """
    path = Path(path)
    content = _load(path, mapped)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not weights")
    if "state_dict" not in content:
        content = {"state_dict": content}
    state = content["state_dict"] if isinstance(content["state_dict"], dict) else {}
    state = {unwrapped(name): tensor for name, tensor in state.items()}
    if not state or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise InputError(f"{path}: holds no network weights")
    return {"optimizer": None, "global_step": 0, "global_epoch": 0, **content, "state_dict": state}


def load_into(network: torch.nn.Module, state_dict: dict, source: str | Path) -> None:
    """Strictly load weights; a network on the meta device takes them over without a copy, in single precision.

    Names that are missing or too many, and other shapes, raise InputError naming source."""
    wanted = network.state_dict()
    if wanted.keys() != state_dict.keys():
        kind, needed = identify(state_dict), identify(wanted)
        reason = f"is {kind}" if kind != needed else "lacks some of the weights or has others besides"
        raise InputError(f"{source}: {reason}; {needed} is needed here")
    for name, tensor in wanted.items():
        if tensor.shape != state_dict[name].shape:
            shapes = f"{name} is {tuple(state_dict[name].shape)}, expected {tuple(tensor.shape)}"
            flag = "refiner_size=...,refiner_width=..." if identify(wanted) == REFINER else "width=..."
            raise InputError(f"{source}: made for another width ({shapes}); give it with --hparams {flag}")
    if next(network.parameters()).is_meta:
        whole = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state_dict.items()}
        network.load_state_dict(whole, strict=True, assign=True)
    else:
        network.load_state_dict(state_dict, strict=True)


def fingerprint(state_dict: dict[str, torch.Tensor]) -> str:
    """What tells one network's weights from another's, whatever file they are in and in which precision: a SHA-256 over
    them in half precision, as weights.py exports them."""
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name]
        values = tensor.half() if tensor.is_floating_point() else tensor
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def write(path: Path, content: dict) -> None:
    """Save a checkpoint under its name only when it is complete and on disk."""
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def write_safetensors(path: Path, state_dict: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Save weights alone, with texts beside them."""
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(state_dict, temporary, metadata)


def _load(path: Path, mapped: bool) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if kind := no_weights(path):
        raise InputError(f"{path}: is {kind}{NO_WEIGHTS[kind]}")
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return _load_safetensors(path)
        if head.startswith(b"PK") and torchscript.is_archive(path):
            return torchscript.read_tensors(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and head.startswith(b"PK"))
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise InputError(f"{path}: holds more than weights, or is no weight file; refused for safety") from error
        raise InputError(f"{path}: is truncated or no weight file; download it again") from error
    except Exception as error:  # bytes that only look like weights can raise anything in the unpickler
        raise InputError(f"{path}: is truncated or no weight file; download it again") from error


def _load_safetensors(path: Path) -> dict:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    content = {**metadata, "state_dict": safetensors.torch.load_file(path)}
    if "hparams" in metadata:
        content["hparams"] = json.loads(metadata["hparams"])
    return content
