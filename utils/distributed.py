"""Several processes on one job, as torchrun starts them: set-up and collectives.

In a single process each function is trivial and PyTorch is not imported.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from utils.errors import InputError
from utils.files import devnull

Result = TypeVar("Result")
Tensor = TypeVar("Tensor", bound=Any)  # of PyTorch, which a single process may do without

TIMEOUT = timedelta(days=7)  # others may be busy for long: evaluation, or videos of several hours
POLL = 0.1  # seconds
LAST_WORDS = 5.0  # seconds for the main process to print its error: torchrun ends all once the first has left
BAD_INPUT = 2  # exit code


def init_processes(device: str) -> str:
    """Join the process group that torchrun started, if it did; returns this process's device for a given --device.

    All but the first process stop printing to stdout.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or world_size() > 1:
        return device
    import torch
    import torch.distributed as dist

    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    if not is_main():
        sys.stdout = devnull()  # it stays open as long as the process
    return device


def destroy_processes() -> None:
    """Leave the process group once all processes have come this far."""
    if group := _group():
        group.barrier()
        group.destroy_process_group()


def world_size() -> int:
    group = _group()
    return group.get_world_size() if group else 1


def rank() -> int:
    group = _group()
    return group.get_rank() if group else 0


def is_main() -> bool:
    return rank() == 0


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process, then in the others, which find on disk what it has made."""
    group = _group()
    if group and not is_main():
        group.barrier()
    yield
    if group and is_main():
        group.barrier()


def broadcast(value: Any) -> Any:
    """The main process's value, on every process."""
    group = _group()
    if not group:
        return value
    values = [value]
    group.broadcast_object_list(values)
    return values[0]


def from_main(work: Callable[[], Result]) -> Result:
    """The main process's result of the work, on every process. Where it fails, the others leave quietly with the exit
    code of bad input."""
    result: Result | None = None
    try:
        if is_main():
            result = work()
    finally:  # the others are told in any case
        result = broadcast(result)
        if result is None and (group := _group()):
            group.destroy_process_group()  # one that ends in a group may abort, with another exit code
    if result is None:
        time.sleep(LAST_WORDS)
        sys.exit(BAD_INPUT)
    return result


def total(number: int) -> int:
    """The sum over all processes. The wait can be interrupted, and ends when a process has died."""
    group = _group()
    if not group:
        return number
    import torch

    numbers = torch.tensor([number])
    try:
        sent = group.all_reduce(numbers, async_op=True)
        while not sent.is_completed():
            time.sleep(POLL)
        sent.wait()
    except RuntimeError as error:
        raise InputError(f"another process of this run ended too early ({str(error).splitlines()[0]})") from error
    return int(numbers.item())


def all_gather(items: list) -> list:
    """The lists of all processes as one, on every process."""
    group = _group()
    if not group:
        return items
    lists: list[list] = [[] for _ in range(world_size())]
    group.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def all_reduce_mean(values: dict[str, float]) -> dict[str, float]:
    """The mean over the processes of every value."""
    if not _group():
        return values
    import torch

    means = mean_of(torch.tensor(list(values.values()), dtype=torch.float64))
    return dict(zip(values, means.tolist(), strict=True))


def mean_of(values: Tensor) -> Tensor:
    """The mean over the processes, which stays on its device."""
    if group := _group():
        group.all_reduce(values)
        values = values / world_size()
    return values


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; cheap enough for every step."""
    return all_reduce_mean({"flag": float(flag)})["flag"] > 0


def _group() -> Any:
    """torch.distributed where this process has joined others, else None."""
    package = sys.modules.get("torch.distributed")
    return package if package and package.is_initialized() else None
