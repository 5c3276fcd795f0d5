"""A network under training: its precision, optimizer, moving average, and its share of several processes."""

import copy
import math
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hparams import HParams
from utils import distributed, weight_files
from utils.devices import Precision, channels_last
from utils.errors import InputError

# Settings of the optimizer that a checkpoint does not change
KEPT = ("lr", "betas", "weight_decay", "decoupled_weight_decay", "fused", "foreach")


class TrainableNetwork:
    """network: the module itself, with the weights that are trained; called, it runs in the precision.

    lr: learning rate; ema: decay of the moving average of the weights (batch-norm statistics with them), 0 for none;
    weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self, network: nn.Module, hp: HParams, precision: Precision, lr: float,
        betas: tuple[float, float] = (0.9, 0.999), ema: float = 0.0, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        device, several = precision.device, distributed.world_size() > 1
        self.network = channels_last(network, device)
        if several and hp.sync_batch_norm:
            if device.type != "cuda":
                raise InputError("--hparams sync_batch_norm=True: works on CUDA GPUs alone; leave it out")
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.hp, self.precision, self.lr = hp, precision, lr
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.name == "fp16")
        self.average = MovingAverage(self.network, ema) if ema else None
        self.parallel: nn.Module = self.network  # exchanges gradients with other processes
        if several:
            self.parallel = DistributedDataParallel(self.network, [device] if device.type == "cuda" else None)

    def __call__(self, *inputs: torch.Tensor, **settings: bool) -> Any:
        with self.precision.autocast():
            return self.parallel(*inputs, **settings)

    def frozen(self, *inputs: torch.Tensor, **settings: bool) -> Any:
        """As a call, but gradients reach the inputs alone."""
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()}
        with self.precision.autocast():
            return torch.func.functional_call(self.network, weights, inputs, settings)

    def train(self) -> None:
        """Training mode; with hp.freeze_batch_norm batch norms keep the statistics they have."""
        self.network.train()
        if self.hp.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    @property
    def best_weights(self) -> nn.Module:
        """What is evaluated and used: the moving average where there is one."""
        return self.average.module if self.average else self.network

    def no_sync(self) -> AbstractContextManager:
        """The context of forward and backward passes whose gradients stay in this process for now."""
        return self.parallel.no_sync() if isinstance(self.parallel, DistributedDataParallel) else nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self.scaler.scale(loss / self.hp.accumulate).backward()

    def update(self, step: int, progress: float) -> None:
        """One optimizer step with the gradients gathered since the one before."""
        self.scaler.unscale_(self.optimizer)
        if self.hp.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.hp.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * lr_factor(step, progress, self.hp)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.network)

    def state(self) -> dict:
        """What a checkpoint holds of it: `state_dict`, the weights to use; with a moving average also
        `trained_state_dict`, the weights that training continues from."""
        state = {"state_dict": self.best_weights.state_dict(), "optimizer": None}
        if self.hp.save_optimizer_state:
            state |= {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            if self.average:
                state["trained_state_dict"] = self.network.state_dict()
        return state

    def restore(self, content: dict, path: Path | None, weights_only: bool) -> None:
        """Put the state of a checkpoint ({} for none) in place. Learning rate and betas stay those given here, so that
        --hparams can change them."""
        if not content or path is None:
            return
        weights, optimizer = content["state_dict"], self.optimizer
        weight_files.load_into(self.network, weights, path)
        if self.average:
            weight_files.load_into(self.average.module, weights, path)
        if weights_only:
            return
        if self.average:
            weight_files.load_into(self.network, content.get("trained_state_dict", weights), path)
            self.average.updates = content["global_step"]
        saved = content["optimizer"]
        if saved is None:
            print(f"{path}: has no optimizer state; the optimizer starts from zero", flush=True)
            return
        try:
            groups = [  # published ones lack `fused`, by which step counts go to the weights' device
                group | {name: ours[name] for name in KEPT}
                for group, ours in zip(saved["param_groups"], optimizer.param_groups, strict=True)
            ]
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: its optimizer state does not fit; add --reset_optimizer") from error
        for weight, means in optimizer.state.items():
            for name, tensor in means.items():
                if tensor.shape == weight.shape:  # a fused optimizer needs the memory format of the weights
                    means[name] = torch.empty_like(weight, requires_grad=False).copy_(tensor)
        if content.get("scaler"):  # has something in fp16 alone
            self.scaler.load_state_dict(content["scaler"])


def lr_factor(step: int, progress: float, hp: HParams) -> float:
    """The learning rate of a step as a part of the full one; progress: part of the training done before it, 0..1."""
    warm = min(1.0, step / hp.warmup_steps) if hp.warmup_steps else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if hp.cosine_lr else 1.0
    return warm * fall


class MovingAverage:
    """module: a copy of a network, whose weights and statistics follow the network's. updates: their number, counted
    here since a GPU would be waited for to read it."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = copy.deepcopy(network).eval(), decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        ratio = float(np.float32(1 + self.updates) / np.float32(10 + self.updates))  # the first weights are forgotten
        weight = 1 - min(self.decay, ratio)
        averages, values = (chain(module.parameters(), module.buffers()) for module in (self.module, network))
        for average, value in zip(averages, values, strict=True):
            if self.updates and average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)
        self.updates += 1
