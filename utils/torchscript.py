"""The tensors of a TorchScript archive, read without running anything in it.

`torch.load(weights_only=True)` refuses such archives and `torch.jit.load` runs the program they carry. An archive is a
zip file: `data.pkl` pickles the module tree, `data/<key>` holds each storage's raw bytes. The unpickler below knows
tensors and plain containers only; every class of the program becomes an inert bag of attributes.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from utils.files import BLOCK

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_archive(path: Path) -> bool:
    """Whether this zip file of weights is a TorchScript archive.

    Raises zipfile.BadZipFile when it is truncated or a member is damaged (PyTorch does not check their CRC-32),
    UnpicklingError when it would grow in memory: PyTorch compresses nothing but programs, which are not read, so that
    all other members together are no larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if "/code/" not in member.filename]
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise pickle.UnpicklingError("weights_only: members are larger than the file")
        for member in members:
            if member.CRC:  # 0 where PyTorch was told to compute none
                with archive.open(member) as file:
                    while file.read(BLOCK):
                        pass
        return any(member.filename.endswith("/constants.pkl") for member in members)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of the module tree under their dotted names, on the CPU."""
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(pickled) as file:
            module = _TreeUnpickler(file, archive, pickled.removesuffix(".pkl")).load()
    return dict(_flatten(module))


class _Module:
    """Stands in for any class of the archived program."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes if isinstance(attributes, dict) else {}


class _TreeUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, storages: str) -> None:
        super().__init__(file)
        self.archive, self.storages = archive, storages

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type("_Module", (_Module,), {})  # one of its own, since a pickle can set attributes of what it gets
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _tensor(*arguments)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module == "torch.jit._pickle":  # typed lists of constants: the list without its type
            return lambda values, *types: values
        raise pickle.UnpicklingError(f"weights_only: {module}.{name} is no tensor")

    def persistent_load(self, pid: tuple) -> torch.Tensor:
        _, dtype, key, _, _ = pid  # "storage", type, key, device, elements
        return torch.frombuffer(bytearray(self.archive.read(f"{self.storages}/{key}")), dtype=dtype)


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    tensor = torch.as_strided(storage, size, stride, offset)
    if tensor.numel() > storage.numel():  # as with strides of zero
        raise pickle.UnpicklingError("weights_only: a tensor is larger than its storage")
    return tensor.clone()


def _flatten(module: _Module, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _flatten(value, f"{prefix}{name}.")
