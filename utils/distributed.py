"""Several processes on one job, as torchrun starts them: set-up, collectives, batch norms over all of them.

In a single process all of it is trivial, so that scripts read the same either way.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from utils.errors import InputError

Result = TypeVar("Result")

TIMEOUT = timedelta(days=7)  # others may be busy for long: evaluation, or videos of several hours

POLL = 0.1  # seconds
BAD_INPUT = 2  # exit code


def init_processes(device: str) -> str:
    """Join the process group that torchrun started, if it did; returns this process's device for a given --device.

    All but the first process stop printing to stdout.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return device
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  it stays open as long as the process
    return device


def destroy_processes() -> None:
    """Leave the process group once all have come this far: one that leaves early can break off the others."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    return rank() == 0


@contextmanager
def main_first() -> Iterator[None]:
    """The block is run by the main process, then by the others: what it leaves on disk is made once."""
    if not is_main():
        dist.barrier()
    yield
    if is_main() and world_size() > 1:
        dist.barrier()


def broadcast(value: Any) -> Any:
    """The main process's value, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def from_main(work: Callable[[], Result]) -> Result:
    """What the main process makes of it, on every process. Where it raises InputError the others leave quietly, with
    the code of bad input."""
    result: Result | None = None
    try:
        if is_main():
            result = work()
    finally:  # the others are told in any case
        result = broadcast(result)
    if result is None:
        sys.exit(BAD_INPUT)
    return result


def total(number: int) -> int:
    """The sum over all processes. The wait for the slower ones can be interrupted, and ends when one has died."""
    if world_size() == 1:
        return number
    numbers = torch.tensor([number])
    try:
        sent = dist.all_reduce(numbers, async_op=True)
        while not sent.is_completed():
            time.sleep(POLL)
        sent.wait()
    except RuntimeError as error:
        raise InputError(f"another process of this run ended too early ({str(error).splitlines()[0]})") from error
    return int(numbers.item())


def all_gather(items: list) -> list:
    """The lists of all processes as one, on every process."""
    if world_size() == 1:
        return items
    lists: list[list] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def all_reduce_mean(values: dict[str, float]) -> dict[str, float]:
    """The mean over the processes of every value."""
    if world_size() == 1:
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(values, (total / world_size()).tolist(), strict=True))


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; cheap enough for every step."""
    if world_size() == 1:
        return flag
    number = torch.tensor([float(flag)])
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return bool(number.item())


def with_sync_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms over the batches of all processes; names of weights stay. Changed in place."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = _CpuSyncBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            norm.load_state_dict(child.state_dict())
            setattr(network, name, norm)
        else:
            with_sync_batch_norms(child, device)
    return network


class _CpuSyncBatchNorm(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPUs, where PyTorch has none."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        mean = _MeanOverProcesses.apply(x.float().mean((0, 2, 3)))  # [C]
        centred = x.float() - mean[:, None, None]
        variance = _MeanOverProcesses.apply(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            count = x.numel() // x.shape[1] * world_size()
            self.num_batches_tracked += 1
            momentum = self.momentum or 0.0
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _MeanOverProcesses(torch.autograd.Function):
    """The mean of the processes' values; gradients are averaged likewise on their way back."""

    @staticmethod
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total / world_size()

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _MeanOverProcesses.forward(_, gradient)
