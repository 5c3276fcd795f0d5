"""Too little memory for a batch, and memory that a process keeps. Needs no PyTorch."""

import ctypes
import sys
from collections.abc import Callable
from typing import TypeVar

from utils.errors import InputError

Result = TypeVar("Result")

MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4  # malloc.h
OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's error, known by its name, since OpenVINO comes without PyTorch


class HalvingBatches:
    """Runs work in batches, and in smaller ones from when the device runs out of memory.

    batch_size: most items at once, by now; oom_retries: times that memory ran out.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.oom_retries = 0

    def run(self, work: Callable[[slice], Result], count: int) -> list[Result]:
        """The results of work(part) for parts of 0..count in order. Out of memory for one item is an InputError."""
        results, first = [], 0
        while first < count:
            try:
                results.append(work(slice(first, first + self.batch_size)))
            except RuntimeError as error:
                if type(error).__name__ != OUT_OF_MEMORY:
                    raise
                if self.batch_size == 1:
                    raise InputError("--device: has too little memory for one frame; use --device cpu") from error
                self.batch_size, self.oom_retries = self.batch_size // 2, self.oom_retries + 1
                continue
            first += self.batch_size
        return results


def keep_freed_memory() -> None:
    """Let memory that this process frees stay with it, so that every step of a training on a CPU finds the pages of the
    one before: new ones cost up to a quarter of a step. It takes up to a third more memory. With C libraries other than
    glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(MALLOPT_MMAP_MAX, 0)
        mallopt(MALLOPT_TRIM_THRESHOLD, -1)
