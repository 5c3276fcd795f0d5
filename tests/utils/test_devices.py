"""Number formats and memory by device."""

import subprocess
import sys

import pytest
import torch

from utils import devices
from utils.devices import Precision, keep_freed_memory, multiplies_bf16

CPU = torch.device("cpu")
TOUCH_NEW_TENSORS = """
import resource, sys, torch
from utils.devices import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory(torch.device("cpu"))
torch.ones(200 << 18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(40 << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("times_faster", "name"), [(0.5, "fp32"), (1.1, "fp32"), (2.0, "bf16")])
def test_auto_takes_bf16_on_a_cpu_only_where_products_are_faster_in_it(monkeypatch, times_faster, name):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    seconds = {torch.float32: 1.0, torch.bfloat16: 1 / times_faster}
    monkeypatch.setattr(devices, "_product_seconds", seconds.__getitem__)
    multiplies_bf16.cache_clear()
    assert Precision("auto", CPU).name == name
    multiplies_bf16.cache_clear()


def test_a_cpu_without_the_instructions_is_not_tried(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(devices, "_product_seconds", lambda dtype: pytest.fail("tried"))
    multiplies_bf16.cache_clear()
    assert Precision("auto", CPU).name == "fp32"
    multiplies_bf16.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_tensors_of_a_training_take_memory_that_was_freed():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", TOUCH_NEW_TENSORS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("kept") < faults("given back") / 10


def test_keeping_memory_is_no_error_where_the_c_library_cannot(monkeypatch):
    monkeypatch.setattr(devices.sys, "platform", "win32")
    keep_freed_memory(CPU)
