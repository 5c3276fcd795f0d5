"""How rates and processes are measured."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
SECONDS = 3.0  # least time that a rate is taken over
WARM_UPS = 2
# A small process between: the system counts the memory of the one that starts another as the other's
WATCHED = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


def rate(work: Callable[[], Any], items: int, device: torch.device = CPU, seconds: float = SECONDS) -> float:
    """Items a second of calls of work() for so many items, after some that do not count: as many as fit into half of
    the time, one at least and two at most. Without a GPU time is that of the CPU, all threads together, which other
    programs on the machine disturb least."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def timed(least: float, most: float) -> tuple[float, int]:
        calls, began = 0, clock()
        while not calls or (clock() - began < least and calls < most):
            work()
            finish(device)
            calls += 1
        return clock() - began, calls

    timed(seconds / 2, WARM_UPS)
    taken, calls = timed(seconds, float("inf"))
    return calls * items / taken


def finish(device: torch.device) -> None:
    """Wait for what was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def exact_products() -> Iterator[None]:
    """On a GPU single precision is not rounded to TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class Run(NamedTuple):
    """cpu: seconds of all threads together; megabytes: at most in memory."""

    seconds: float
    cpu: float
    megabytes: float


def run(*arguments) -> Run:
    """A Python process in the project's folder."""
    command = [sys.executable, *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", WATCHED, *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - began
    code, cpu, memory = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{arguments}: failed with {code}")
    unit = 1024 if sys.platform == "darwin" else 1  # of ru_maxrss, in KiB
    return Run(seconds, cpu, memory / unit / 1024)
