"""Several processes on one job, as torchrun starts them: who does what, and how they hear of each other.

In a process of its own all of it is trivial, so that scripts read the same either way.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

PATIENCE = timedelta(days=7)  # others may be busy for long: evaluation, or videos of several hours


def join(device: str) -> str:
    """Join the processes that torchrun started, if it did; returns the device of this one for the `--device` given.

    All but the first fall silent on stdout.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return device
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  it stays open as long as the process
    return device


def leave() -> None:
    """Part from the other processes when all have come this far: one that leaves early can break off the others."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world() -> int:
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
    if is_main() and world() > 1:
        dist.barrier()


def from_main(value):
    """The main process's value, on every process."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def joined(items: list) -> list:
    """The lists of all processes as one, on every process."""
    if world() == 1:
        return items
    lists = [None] * world()
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def mean(values: dict[str, float]) -> dict[str, float]:
    """The mean over the processes of every value."""
    if world() == 1:
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(values, (total / world()).tolist(), strict=True))


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    return any(joined([flag]))


def with_shared_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms that count the batches of all processes as one; names of weights stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SharedBatchNorm  # the same weights and settings, another forward
    return network


class _SharedBatchNorm(nn.BatchNorm2d):
    """SyncBatchNorm for CPUs, where torch has none."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mean = _MeanOverProcesses.apply(x.float().mean((0, 2, 3)))  # [C]
        centred = x.float() - mean[:, None, None]
        variance = _MeanOverProcesses.apply(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            count = x.numel() // x.shape[1] * world()
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _MeanOverProcesses(torch.autograd.Function):
    """The mean of the processes' values; gradients are averaged likewise on their way back."""

    @staticmethod
    def forward(_, values):
        total = values.clone()
        dist.all_reduce(total)
        return total / world()

    @staticmethod
    def backward(_, gradient):
        return _MeanOverProcesses.forward(_, gradient)
