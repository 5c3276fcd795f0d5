"""Weight files: every known form is read, none is executed; files are written so that a crash loses nothing.

Forms that are read: the published dict (`state_dict`, `optimizer`, `global_step`, `global_epoch`), a bare state dict,
either with `module.` before its names, safetensors, and the TorchScript archives in TORCHSCRIPT.
"""

import hashlib
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from utils.errors import InputError
from utils.files import BLOCK, atomic_write, existing_file, failed_download, parse_json, sha256, write_bytes

UNKNOWN, GENERATOR = "no network of this project", "a generator (Wav2Lip)"
SIGNATURES = {  # a name that only this network has -> what to call the network
    "face_decoder_blocks.0.0.conv_block.0.weight": GENERATOR,
    "face_encoder.0.conv_block.0.weight": "a lip-sync expert (SyncNet_color)",
    "binary_pred.0.weight": "a visual-quality discriminator (Wav2Lip_disc_qual)",
    "patch_logits.weight": "a discriminator of patches (PatchDiscriminator)",
    "occlusion_output.weight": "an occlusion detector (OcclusionNet)",
    "conv3_3_norm_mbox_conf.weight": "a face detector (S3FD)",
}
DAMAGED = "is truncated, damaged or no weight file; get it again"
TORCHSCRIPT = {  # SHA-256 of archives that are known to be harmless: checkpoints/Wav2Lip-SD-GAN.pt
    "180cfd49d31d47f195d5bfc62830ffe2c40724b7bbbce6faadc73ac6ab1a3b8e"
}
STATE_DICTS = ("state_dict", "trained_state_dict")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8)
CHECKSUM = re.compile(rb'"file_crc32":"([0-9a-f]{8})"')  # in the metadata of safetensors
BLANK = b"0" * 8  # in its place while it is computed


def read(path: str | Path) -> dict:
    """A weight file of any known form as the published dict, tensors on the CPU: `state_dict` without wrapper
    prefixes, `optimizer` (None if absent), `global_step`, `global_epoch`, the file as `source`, and whatever else it
    has. All of it is in memory: a file that is mapped ends the process when something else cuts it off.

    Raises InputError that says what is wrong with the file.
    """
    path = existing_file(Path(path))
    content = _load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not weights")
    if "state_dict" not in content:
        content = {"state_dict": content}
    weights = {name: _checked(content[name], path) for name in STATE_DICTS if name in content}
    content = {"optimizer": None, "global_step": 0, "global_epoch": 0, **content, **weights, "source": path}
    if not all(isinstance(content[name], int) for name in ("global_step", "global_epoch")):
        raise InputError(f"{path}: is no checkpoint: global_step or global_epoch is no whole number")
    return content


def identify(names: Iterable[str]) -> str:
    """Which network has weights of these names, for messages."""
    names = set(names)
    return next((kind for name, kind in SIGNATURES.items() if name in names), UNKNOWN)


def _checked(state: Any, path: Path) -> dict[str, torch.Tensor]:
    """Weights by their names, without prefixes of DataParallel and torch.compile. Raises InputError for anything but
    plain, finite numbers."""
    tensors = state.values() if isinstance(state, dict) else ()
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise InputError(f"{path}: holds no network weights")
    for name, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.dtype in DTYPES and tensor.device.type == "cpu"
        if not plain or tensor.nbytes > tensor.untyped_storage().nbytes():  # as with strides of zero
            kind = ", ".join(str(part).removeprefix("torch.") for part in (tensor.dtype, tensor.layout))
            raise InputError(f"{path}: {name} is no plain tensor of weights ({kind}); save them as float32")
        if tensor.is_floating_point() and not math.isfinite(tensor.sum(dtype=torch.float64)):
            raise InputError(f"{path}: {name} holds NaN or infinite values; take an earlier checkpoint or another file")
    plain_names = (str(name).removeprefix("module.").removeprefix("_orig_mod.") for name in state)
    return {name: tensor.detach() for name, tensor in zip(plain_names, tensors, strict=True)}


def load_into(network: torch.nn.Module, state_dict: dict, source: str | Path) -> None:
    """Strictly load weights; a network on the meta device takes them over without a copy, in single precision.

    Names that are missing or too many, and other shapes, raise InputError naming source."""
    wanted = network.state_dict()
    if wanted.keys() != state_dict.keys():
        kind, needed = identify(state_dict), identify(wanted)
        reason = f"is {kind}" if kind != needed else "lacks some of the weights or has others besides"
        raise InputError(f"{source}: {reason}; {needed} is needed here")
    for name, tensor in wanted.items():
        if tensor.is_floating_point() != state_dict[name].is_floating_point():
            raise InputError(f"{source}: {name} is {state_dict[name].dtype}, expected {tensor.dtype}; save it as that")
        if tensor.shape != state_dict[name].shape:
            shapes = f"{name} is {tuple(state_dict[name].shape)}, expected {tuple(tensor.shape)}"
            raise InputError(f"{source}: made for another width ({shapes}); give it with --hparams width=...")
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
    except (OSError, RuntimeError) as error:  # PyTorch has words of its own for a full disk
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise InputError(f"{path}: cannot be written ({cause.strerror})") from error


def write_safetensors(path: Path, state_dict: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Save weights alone, with texts beside them and a checksum of the whole file."""
    packed = {name: tensor.contiguous() for name, tensor in state_dict.items()}  # trainings hold them channels-last
    content = safetensors.torch.save(packed, metadata | {"file_crc32": BLANK.decode()})
    checksum = f"{zlib.crc32(content):08x}".encode()
    write_bytes(path, content.replace(b'"file_crc32":"' + BLANK, b'"file_crc32":"' + checksum, 1))


def _load(path: Path) -> Any:
    if kind := failed_download(path):
        raise InputError(f"{path}: is {kind}, not weights; download the file itself")
    with path.open("rb") as file:
        head = file.read(9)
    try:
        if path.suffix == ".safetensors" or head[8:] == b"{":
            return _load_safetensors(path)
        if not (head.startswith(b"PK") and _is_torchscript(path)):
            return torch.load(path, map_location="cpu", weights_only=True)
        if sha256(path) in TORCHSCRIPT:  # torch.jit.load may run the program in it
            return torch.jit.load(path, map_location="cpu").state_dict()
    except Exception as error:  # bytes that only look like weights can raise anything in the unpickler
        refused = isinstance(error, pickle.UnpicklingError) and re.search("weights_only|Unsupported", str(error))
        reason = "holds more than weights, or is no weight file; refused for safety" if refused else DAMAGED
        raise InputError(f"{path}: {reason}") from error
    raise InputError(
        f"{path}: is a TorchScript program other than the published one; refused for safety; save its state_dict "
        "with torch.save"
    )


def _is_torchscript(path: Path) -> bool:
    """Whether this zip file of weights is a TorchScript archive.

    Raises zipfile.BadZipFile when it is truncated or a member is damaged (PyTorch does not check their CRC-32),
    UnpicklingError when it would grow in memory: PyTorch compresses nothing but programs.
    """
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if "/code/" not in member.filename]
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise pickle.UnpicklingError("weights_only: members are larger than the file")
        for member in filter(lambda member: member.CRC, members):  # 0 where PyTorch was told to compute none
            with archive.open(member) as file:
                while file.read(BLOCK):
                    pass
        return any(member.filename.endswith("/constants.pkl") for member in members)


def _load_safetensors(path: Path) -> dict:
    raw = path.read_bytes()
    state_dict = safetensors.torch.load(raw)
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    if noted := CHECKSUM.search(header):
        first, after = 8 + noted.start(1), 8 + noted.end(1)
        if int(noted[1], 16) != zlib.crc32(memoryview(raw)[after:], zlib.crc32(raw[:first] + BLANK)):
            raise ValueError("the checksum is another")
    metadata = parse_json(header).get("__metadata__", {})
    saved = {"hparams": parse_json(metadata["hparams"])} if "hparams" in metadata else {}
    return {**saved, "state_dict": state_dict}
