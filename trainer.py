"""What both trainings share: flags, set-up, resume, the loop with its log, checkpoints and stop signal."""

import argparse
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

import checkpoint
import cli
from cli import InputError
from devices import Precision, pick_device
from hparams import HParams

LOG_EVERY = 10  # steps between readings of the losses, which make a GPU wait
ENDLESS = 100_000_000  # steps; a run that would take more is ended by hand, and has no time of arrival


@dataclass(frozen=True)
class Schedule:
    """All in steps."""

    first: int
    last: int
    evaluate_every: int
    save_every: int
    batch_size: int


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_root", type=Path, required=True, help="the --preprocessed_root of preprocess.py")
    parser.add_argument("--checkpoint_dir", type=Path, required=True, help="where checkpoints, logs and samples go")
    parser.add_argument("--checkpoint_path", type=Path, help="go on from this checkpoint")
    parser.add_argument("--reset_optimizer", action="store_true", help="take only its weights and count from step 0")
    parser.add_argument(
        "--filelists_dir", type=Path, default=Path("filelists"), help="where train.txt and eval.txt lie"
    )
    parser.add_argument("--max_steps", type=int, help="stop at this step (default: hparams nepochs)")
    parser.add_argument("--num_workers", type=int, help="loader processes (default: hparams num_workers)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    cli.add_common_flags(parser)


def set_up(args: argparse.Namespace) -> tuple[dict, HParams, torch.device, Precision]:
    """The checkpoint to go on from ({} for none), the run's values, the device and the precision."""
    content = checkpoint.read(args.checkpoint_path) if args.checkpoint_path else {}
    overrides = args.hparams if args.num_workers is None else f"{args.hparams},num_workers={args.num_workers}"
    hp = checkpoint.hparams_of(content, overrides)
    cli.writable_folder(args.checkpoint_dir, "--checkpoint_dir")
    device = pick_device(args.device)
    torch.manual_seed(hp.seed)
    torch.set_flush_denormal(True)  # near-zero activations would slow a CPU down to a quarter
    torch.backends.cudnn.benchmark = True
    return content, hp, device, Precision(args.precision, device)


def restore(content: dict, network: torch.nn.Module, optimizer: torch.optim.Optimizer, path: Path | None, reset: bool):
    """Put a checkpoint's weights, and unless reset its optimizer state, in place. Returns the step to go on from.

    Learning rate and betas stay those that the optimizer was made with, so that --hparams can change them.
    """
    if not content:
        return 0
    checkpoint.load_into(network, content["state_dict"], path)
    if reset:
        return 0
    if content["optimizer"] is None:
        print(f"{path}: has no optimizer state; the optimizer starts anew", flush=True)
        return content["global_step"]
    made_with = [{name: group[name] for name in ("lr", "betas")} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(content["optimizer"])
        for group, values in zip(optimizer.param_groups, made_with, strict=True):
            group.update(values)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: its optimizer state does not fit; add --reset_optimizer") from error
    return content["global_step"]


def schedule(
    first: int, windows: int, batch_size: int, evaluate_every: int, save_every: int, max_steps, hp
) -> Schedule:
    """The run's steps; one that is already at its end raises InputError."""
    end = hp.nepochs * windows // batch_size
    last = min(max_steps or end, end)
    if first >= last:
        raise InputError(f"nothing to do: the checkpoint is at step {first}, --max_steps at {last}; raise --max_steps")
    return Schedule(first, last, evaluate_every, save_every, batch_size)


def save(path: Path, network, optimizer, step: int, windows: int, batch_size: int, hp: HParams, **extra) -> None:
    """Write a checkpoint in the published form, with the run's values and what else it needs to go on."""
    state = optimizer.state_dict() if hp.save_optimizer_state else None
    content = {"state_dict": network.state_dict(), "optimizer": state, "global_step": step}
    content |= {"global_epoch": step * batch_size // windows, "hparams": hp.to_dict(), **extra}
    checkpoint.write(path, content)


def to_device(batch: dict, device: torch.device) -> dict:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def fit(
    plan: Schedule,
    folder: Path,
    batches: Iterator[dict],
    train_step: Callable[[dict], dict[str, torch.Tensor]],
    evaluate: Callable[[int], dict[str, float]],
    save_at: Callable[[int], None],
) -> None:
    """Run the steps of the plan.

    train_step takes a batch and returns its losses; evaluate takes the step and returns scores; save_at writes a
    checkpoint. Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint.
    """
    meter = _Meter(plan.batch_size)
    with (
        _StopSignal() as stop,
        SummaryWriter(folder / "logs") as log,
        tqdm(total=plan.last if plan.last < ENDLESS else None, initial=plan.first, unit="step", smoothing=0.05) as bar,
    ):
        if plan.first == 0:
            _report_scores(bar, log, 0, evaluate(0))
        for step in range(plan.first + 1, plan.last + 1):
            meter.start()
            batch = next(batches)
            meter.batch_came()
            meter.add(_train(train_step, batch))
            bar.update()
            if step % LOG_EVERY == 0:
                means = meter.read()
                for name, value in means.items():
                    log.add_scalar(f"train/{name}", value, step)
                bar.set_postfix_str(", ".join(f"{name} {value:.4g}" for name, value in means.items()), refresh=False)
            ends = step == plan.last or stop.asked
            if step % plan.evaluate_every == 0 or step == plan.last:
                _report_scores(bar, log, step, evaluate(step))
            if step % plan.save_every == 0 or ends:
                save_at(step)
            if stop.asked:
                bar.write(f"stopped at step {step}; go on with --checkpoint_path and the checkpoint of this step")
                raise KeyboardInterrupt


class _Meter:
    """Means of the losses, windows a second and the share of time spent waiting for data, between two readings."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._clear()

    def _clear(self) -> None:
        self.sums, self.steps, self.seconds, self.waited = {}, 0, 0.0, 0.0

    def start(self) -> None:
        self.since = time.perf_counter()

    def batch_came(self) -> None:
        self.waited += time.perf_counter() - self.since

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.seconds += time.perf_counter() - self.since

    def read(self) -> dict[str, float]:
        began = time.perf_counter()
        means = {name: float(total) / self.steps for name, total in self.sums.items()}  # here a GPU is waited for
        seconds = self.seconds + time.perf_counter() - began
        means |= {"windows/s": self.steps * self.batch_size / seconds, "waiting": self.waited / seconds}
        self._clear()
        return means


def _train(train_step, batch: dict) -> dict[str, torch.Tensor]:
    try:
        return train_step(batch)
    except torch.OutOfMemoryError as error:
        raise InputError("--device: has too little memory; lower batch_size with --hparams") from error


def _report_scores(bar: tqdm, log: SummaryWriter, step: int, scores: dict[str, float]) -> None:
    for name, value in scores.items():
        log.add_scalar(f"eval/{name}", value, step)
    bar.write(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))


def write_grid(path: Path, rows: list[torch.Tensor]) -> None:
    """Rows of BGR pictures [N, 3, H, W] in 0..1, one below the other, as a PNG."""
    lines = [torch.cat(list(row.float().cpu().clamp(0, 1)), dim=2) for row in rows]  # each [3, H, N·W]
    picture = (torch.cat(lines, dim=1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


class _StopSignal:
    """Within its block, turns the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""

    asked = False

    def __enter__(self):
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, *_):
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
