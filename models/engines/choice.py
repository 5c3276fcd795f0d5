"""Which engine draws, and in which number format, decided without importing any."""

import ctypes
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError

ENGINES = ("auto", "torch", "openvino")
NAMES = {"torch": "PyTorch", "openvino": "OpenVINO"}
INSTALL = "python -m pip install -r requirements-openvino.txt"
CUDA_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
ROCM_DEVICE = Path("/dev/kfd")


class Choice(NamedTuple):
    """engine: torch or openvino; precision, device: as asked for, "auto" included."""

    engine: str
    precision: str
    device: str


def choose(engine: str, precision: str, device: str) -> Choice:
    """What --engine, --precision and --device come to here. Raises InputError where that cannot be."""
    if engine == "auto":
        engine = "openvino" if is_cpu(device) and precision != "fp16" and is_installed("openvino") else "torch"
        if engine == "torch" and precision == "int8":
            raise InputError(f"--precision int8: needs a CPU and OpenVINO, which {INSTALL} installs")
    if engine == "torch" and precision == "int8":
        raise InputError("--precision int8: PyTorch takes fp32, bf16 or fp16; int8 needs --engine openvino")
    if engine == "openvino":
        if not is_installed("openvino"):
            raise InputError(f"--engine openvino: OpenVINO is not installed; {INSTALL}")
        if device not in ("auto", "cpu"):
            raise InputError(f"--engine openvino: runs on the CPU, not on --device {device}; use --engine torch there")
        if precision == "fp16":
            raise InputError("--precision fp16: OpenVINO takes fp32, bf16 or int8")
        if precision == "int8" and not is_installed("nncf"):
            raise InputError(f"--precision int8: NNCF, which calibrates it, is not installed; {INSTALL}")
    return Choice(engine, precision, device)


def is_cpu(device: str) -> bool:
    """Whether what --device names is the CPU, for certain."""
    return device == "cpu" or (device == "auto" and not gpu_is_possible())


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def gpu_is_possible() -> bool:
    """Whether PyTorch may find a GPU; False only where there is none for certain, so that it need not be asked."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return ROCM_DEVICE.exists()
    return True
