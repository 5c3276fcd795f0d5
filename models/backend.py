"""Which backend runs the networks of a dub, PyTorch or OpenVINO, and what a loaded network looks like to its user.

Nothing here imports either: a dub by OpenVINO never imports PyTorch.
"""

import ctypes
import platform
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from hparams import HParams
from utils.errors import InputError

INSTALL = "python -m pip install -r requirements-openvino.txt"
CUDA_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
ROCM_DEVICE = Path("/dev/kfd")
OCCLUSION_SIZE = 48  # pixels of both sides of what the network behind --occlusion sees


@dataclass(frozen=True)
class Backend:
    name: str  # torch or openvino
    dtype: str  # fp32, bf16, fp16, int8, or auto: the fastest that is accurate enough
    device: str  # cpu, cuda, mps, or auto


class ArrayNetwork(Protocol):
    """A network that takes and returns arrays, by either backend."""

    oom_retries: int  # times that its batches were halved because the device ran out of memory

    @property
    def batch_size(self) -> int: ...  # most rows at once, by now

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Arrays of equally many rows, at least one -> an array of as many; rows do not depend on each other."""
        ...


@dataclass(frozen=True)
class Loaded:
    """The networks of one weight file, ready to run."""

    networks: tuple[ArrayNetwork, ...]  # as `load` lists them
    hp: HParams  # the values they were trained with
    backend: Backend  # what really runs them, without "auto"
    fingerprint: str  # utils.weight_files.fingerprint of the weights


def pick(engine: str, precision: str, device: str) -> Backend:
    """What --engine, --precision and --device come to here. Raises InputError where that cannot be.

    --engine auto is OpenVINO where that is installed, the device is a CPU for certain and --precision is not fp16; else
    PyTorch. --precision auto is decided where the network is loaded (utils/devices.py, models/conversion.py).
    """
    if engine == "auto":
        suits_openvino = is_cpu(device) and precision != "fp16" and is_installed("openvino")
        engine = "openvino" if suits_openvino else "torch"
    if engine == "torch" and precision == "int8":
        raise InputError(f"--precision int8: needs a CPU and --engine openvino; {INSTALL}")
    if engine == "openvino":
        if not is_installed("openvino"):
            raise InputError(f"--engine openvino: OpenVINO is not installed; {INSTALL}")
        if device not in ("auto", "cpu"):
            raise InputError(f"--engine openvino: runs on the CPU, not on --device {device}; use --engine torch there")
        if precision == "fp16":
            raise InputError("--precision fp16: OpenVINO takes fp32, bf16 or int8")
        if precision == "int8" and not is_installed("nncf"):
            raise InputError(f"--precision int8: NNCF, which calibrates it, is not installed; {INSTALL}")
    return Backend(engine, precision, device)


def load(kind: str, path: Path, backend: Backend, overrides: str = "", batch_size: int | None = None) -> Loaded:
    """The networks in a weight file. All faces are uint8 BGR. Raises InputError where the file holds something else.

    kind: which networks:
        generator: one, faces [N, 96, 96, 3] (each its own reference) and mels float32 [N, 1, 80, 16]
            -> faces [N, 96, 96, 3]
        expert: two, lower halves of windows [N, 5, 48, 96, 3] -> float32 [N, D], and mels [N, 1, 80, 16] -> [N, D]
        occlusion: one, faces float32 [N, 48, 48, 3] and the person's median face uint8 [N, 48, 48, 3], in 0..255
            -> float32 [N, 48, 48], probabilities of being covered
    overrides: --hparams; batch_size: rows at once, None for what suits the device.
    """
    return import_module(f"models.{backend.name}_backend").load(kind, path, backend, overrides, batch_size)


def is_cpu(device: str) -> bool:
    """Whether --device certainly means the CPU."""
    return device == "cpu" or (device == "auto" and not gpu_is_possible())


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def gpu_is_possible() -> bool:
    """Whether PyTorch may find a GPU; False only where there certainly is none, so that PyTorch need not be asked."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return ROCM_DEVICE.exists()
    return True
