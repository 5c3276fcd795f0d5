"""What a file that should hold weights is, found without PyTorch and without running anything in it."""

import io
import pickletools
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from utils.files import parse_json

REFINER = "a refiner (Refiner)"
# A name that only this network has -> what to call the network
SIGNATURES = {
    "face_decoder_blocks.0.0.conv_block.0.weight": "a generator (Wav2Lip)",
    "face_encoder.0.conv_block.0.weight": "a lip-sync expert (SyncNet_color)",
    "binary_pred.0.weight": "a visual-quality discriminator (Wav2Lip_disc_qual)",
    "patch_logits.weight": "a discriminator of patches (PatchDiscriminator)",
    "reference_stages.0.0.weight": REFINER,
    "occlusion_output.weight": "an occlusion detector (OcclusionNet)",
    "conv3_3_norm_mbox_conf.weight": "a face detector (S3FD)",
}
WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
HEAD = 512  # bytes by which files are told
LFS_POINTER = "a Git LFS pointer"
WEB_PAGE = "a web page"
TORCHSCRIPT = "a network as TorchScript"
LONGEST_HEADER = 100_000_000  # bytes, of what names the weights in a file
PICKLES_BEFORE = 3  # in the form that PyTorch wrote before zip files: magic number, protocol, system


def identify(names: Iterable[str]) -> str:
    """What network the weights of these names are of, in words."""
    names = set(names)
    return next((kind for name, kind in SIGNATURES.items() if name in names), "no network of this project")


def unwrapped(name: str) -> str:
    """A weight's name without what wrappers put before it."""
    for prefix in WRAPPER_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def no_weights(path: Path) -> str:
    """What the file is where its first bytes show that it holds no weights, in words; else nothing."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return LFS_POINTER
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return WEB_PAGE
    return ""


def describe(path: Path) -> str:
    """What the file holds, in words: as no_weights, or which network."""
    if kind := no_weights(path):
        return kind
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file) and any("constants.pkl" in name for name in zipfile.ZipFile(file).namelist()):
                return TORCHSCRIPT
            file.seek(0)
            return identify(map(unwrapped, _names(file)))
    except (ValueError, OSError, EOFError, KeyError, IndexError, zipfile.BadZipFile, struct.error):
        return "no weight file, or a truncated one"


def _names(file: BinaryIO) -> Iterator[str]:
    """The texts in a file of weights, among which are their names."""
    head = file.read(9)
    file.seek(0)
    if head[8:9] == b"{":  # safetensors
        (length,) = struct.unpack("<Q", file.read(8))
        yield from parse_json(file.read(min(length, LONGEST_HEADER)))
    elif head.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            pickled = [member for member in archive.infolist() if member.filename.endswith("data.pkl")]
            if not pickled or pickled[0].file_size > LONGEST_HEADER:
                raise ValueError("holds no weights")
            yield from _texts(io.BytesIO(archive.read(pickled[0])))
    else:
        for _ in range(PICKLES_BEFORE):
            for _ in _texts(file):
                pass
        yield from _texts(file)


def _texts(file: BinaryIO) -> Iterator[str]:
    """The texts in the pickle that begins here; it is read to its end."""
    for _, value, _ in pickletools.genops(file):
        if isinstance(value, str):
            yield value
