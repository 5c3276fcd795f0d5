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
    """Whether this zip file is a TorchScript archive. Raises zipfile.BadZipFile when it is truncated."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


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
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
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
    return torch.as_strided(storage, size, stride, offset).clone()


def _flatten(module: _Module, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _flatten(value, f"{prefix}{name}.")
