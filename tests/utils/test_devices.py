"""Precision and memory by device."""

import subprocess
import sys

import pytest
import torch

from utils.devices import Precision
from utils.errors import InputError

TOUCH_NEW_ARRAYS = """
import resource, sys
import numpy as np
from utils.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(200 << 18, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(40 << 18, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_cpu_takes_fp32_or_bf16_and_refuses_fp16():
    cpu = torch.device("cpu")
    assert Precision("auto", cpu).name in ("fp32", "bf16")
    with pytest.raises(InputError, match="needs a GPU"):
        Precision("fp16", cpu)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_arrays_of_a_training_take_memory_that_was_freed():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", TOUCH_NEW_ARRAYS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("kept") < faults("given back") / 10
