"""Where the networks run and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from time import thread_time
from typing import TypeVar

import torch

from utils.errors import InputError

NetworkType = TypeVar("NetworkType", bound=torch.nn.Module)

TRIAL_SIDE, TRIALS = 1024, 4  # of the matrices that bf16 is tried on
WORTH_BF16 = 1.25  # times as fast as float32

DTYPES: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not here; use auto or cpu") from error
    return device


@cache
def prefers_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32. A CPU is tried: one that has the instructions may
    need twice as long with them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return False
    return WORTH_BF16 * _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """The CPU time that products of matrices take in one thread, which other work on the machine hardly changes."""
    matrix, threads = torch.ones(TRIAL_SIDE, TRIAL_SIDE, dtype=dtype), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.mm(matrix, matrix)  # sets up what the first one needs
        since = thread_time()
        for _ in range(TRIALS):
            torch.mm(matrix, matrix)
        return thread_time() - since
    finally:
        torch.set_num_threads(threads)


def channels_last(network: NetworkType, device: torch.device, dtype: torch.dtype | None = None) -> NetworkType:
    """The network on the device, its tensors in the memory format that convolutions are fastest in; in place."""
    network.to(device, dtype)
    network.to(memory_format=torch.channels_last)
    return network


class Precision:
    """Autocast in one precision.

    name: fp32, bf16, fp16, or auto for bf16 where it is the faster one, fp16 on older GPUs, else fp32.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "bf16" if prefers_bf16(device) else "fp16" if device.type == "cuda" else "fp32"
        if name == "fp16" and device.type == "cpu":
            raise InputError("--precision fp16: needs a GPU; use bf16 or fp32 on a CPU")
        self.name, self.device, self.dtype = name, device, DTYPES[name]

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
