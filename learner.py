"""A network that is being trained: its precision, optimizer, moving average, and its share of several processes."""

import math
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import checkpoint
import distributed
from cli import InputError
from devices import Precision
from hparams import HParams

OURS = ("lr", "betas", "fused", "foreach")  # settings of the optimizer that a checkpoint does not change


class Learner:
    """network: the module itself, with the weights that are trained.

    lr: learning rate; ema: decay of the moving average of the weights (batch-norm statistics with them), 0 for none.
    """

    def __init__(self, network: nn.Module, hp: HParams, device: torch.device, precision: Precision, lr: float,
                 betas: tuple[float, float] = (0.9, 0.999), ema: float = 0.0):  # fmt: skip
        self.network = network.to(device, memory_format=torch.channels_last)
        if distributed.world() > 1 and hp.sync_batch_norm:
            self.network = distributed.with_shared_batch_norms(self.network, device)
        self.hp, self.precision, self.lr = hp, precision, lr
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.name == "fp16")
        self.average = _moving_average(self.network, ema) if ema else None
        self.shared: nn.Module = self.network  # exchanges gradients
        if distributed.world() > 1:
            self.shared = DistributedDataParallel(self.network, [device] if device.type == "cuda" else None)
        self.called = torch.compile(self.shared) if hp.compile else self.shared

    def __call__(self, *inputs):
        with self.precision.autocast():
            return self.called(*inputs)

    @property
    def best_weights(self) -> nn.Module:
        """What is evaluated and used: the moving average where there is one."""
        return self.average.module if self.average else self.network

    def no_exchange(self):
        """The context of forward and backward passes whose gradients stay in this process for now."""
        return nullcontext() if self.shared is self.network else self.shared.no_sync()

    def backward(self, loss: torch.Tensor) -> None:
        self.scaler.scale(loss / self.hp.accumulate).backward()

    def update(self, step: int, last_step: int) -> None:
        """One optimizer step with the gradients gathered since the one before."""
        self.scaler.unscale_(self.optimizer)
        if self.hp.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.hp.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * lr_factor(step, last_step, self.hp)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update_parameters(self.network)

    def state(self) -> dict:
        """What a checkpoint holds of it. `state_dict` are the weights to use; with a moving average those that are
        trained on are kept besides."""
        state = {"state_dict": self.best_weights.state_dict(), "optimizer": None}
        if self.hp.save_optimizer_state:
            state |= {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            if self.average:
                state["trained_state_dict"] = self.network.state_dict()
        return state

    def restore(self, content: dict, path: Path | None, weights_only: bool) -> int:
        """Put the state of a checkpoint ({} for none) in place; returns the step to go on from.

        Learning rate and betas stay those given here, so that --hparams can change them.
        """
        if not content:
            return 0
        checkpoint.load_into(self.network, content["state_dict"], path)
        if self.average:
            checkpoint.load_into(self.average.module, content["state_dict"], path)
        if weights_only:
            return 0
        step = content["global_step"]
        if self.average:
            checkpoint.load_into(self.network, content.get("trained_state_dict", content["state_dict"]), path)
            self.average.n_averaged.fill_(step)
        if content["optimizer"] is None:
            print(f"{path}: has no optimizer state; the optimizer starts anew", flush=True)
            return step
        made_with = [{name: group[name] for name in OURS} for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(content["optimizer"])
            for group, values in zip(self.optimizer.param_groups, made_with, strict=True):
                group.update(values)
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}: its optimizer state does not fit; add --reset_optimizer") from error
        if content.get("scaler"):  # has something in fp16 alone
            self.scaler.load_state_dict(content["scaler"])
        return step


def lr_factor(step: int, last_step: int, hp: HParams) -> float:
    """The learning rate of a step as a part of the full one: warmed up, then with cosine_lr falling to zero."""
    warm = min(1.0, step / hp.warmup_steps) if hp.warmup_steps else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * (step - 1) / last_step)) if hp.cosine_lr else 1.0
    return warm * fall


def _moving_average(network: nn.Module, decay: float) -> AveragedModel:
    def update(averages, values, updates):
        weight = 1 - min(decay, float((1 + updates) / (10 + updates)))  # the first weights are soon forgotten
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, weight) if average.is_floating_point() else average.copy_(value)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True).eval()
