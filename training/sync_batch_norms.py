"""Batch norms over the batches of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from utils.distributed import world_size


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
