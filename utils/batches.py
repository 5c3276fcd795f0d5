"""Work in batches that shrink when the device runs out of memory."""

from collections.abc import Callable
from typing import TypeVar

from utils.errors import InputError

Result = TypeVar("Result")

OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's error, known by its name, since other engines come without PyTorch


class HalvingBatches:
    """Runs work in batches, and in smaller ones from when the device runs out of memory.

    batch_size: most items at once, by now; halved: times that memory ran out.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.halved = 0

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
                self.batch_size, self.halved = self.batch_size // 2, self.halved + 1
                continue
            first += self.batch_size
        return results
