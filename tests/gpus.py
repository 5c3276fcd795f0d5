"""Tests on a GPU: marked `cuda`, left out where there is none. What can run on a CPU too is parametrized over both."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

CPU = torch.device("cpu")


def needs_gpus(count: int = 1) -> list[pytest.MarkDecorator]:
    """Marks of a test that needs so many."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [pytest.mark.cuda, pytest.mark.skipif(found < count, reason=f"needs {count} GPU(s), {found} found")]


ON_CPU_AND_GPU = pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda"), marks=needs_gpus())], ids=["cpu", "cuda"]
)


@contextmanager
def exact_products() -> Iterator[None]:
    """On a GPU single precision is not rounded to TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
