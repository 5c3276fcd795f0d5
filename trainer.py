"""What both trainings share: flags, set-up, the loop with its log, checkpoints and stop signal."""

import argparse
import signal
from abc import ABC, abstractmethod
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

import checkpoint
import cli
import distributed
from cli import InputError
from dataset import Windows, evaluation_batches, open_windows, training_batches
from devices import Precision, pick_device
from learner import Learner
from meter import Meter
from run_folder import NUMBERED, History, starting_point, write_checkpoints

LOG_EVERY = 10  # steps between readings of the losses, which make a GPU wait
ENDLESS = 100_000_000  # steps; a run that would take more is ended by hand, and has no time of arrival


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_root", type=Path, required=True, help="the --preprocessed_root of preprocess.py")
    parser.add_argument("--checkpoint_dir", type=Path, required=True, help="the run: checkpoints, logs, samples")
    parser.add_argument("--checkpoint_path", type=Path, help="start here (default: the newest in --checkpoint_dir)")
    parser.add_argument("--reset_optimizer", action="store_true", help="take only its weights and count from step 0")
    parser.add_argument(
        "--filelists_dir", type=Path, default=Path("filelists"), help="where train.txt and eval.txt lie"
    )
    parser.add_argument("--max_steps", type=int, help="stop at this step (default: hparams nepochs)")
    parser.add_argument("--patience", type=int, metavar="N", help="stop after N evaluations without a better one")
    parser.add_argument("--keep", type=int, default=5, metavar="N", help="numbered checkpoints to keep (default: 5)")
    parser.add_argument("--num_workers", type=int, help="loader processes (default: hparams num_workers)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    cli.add_common_flags(parser)


class Training(ABC):
    """One training run. A script's own training says what is trained and how:

    learners by the prefix of their checkpoints' names, "" for the network that is evaluated; forward, which takes a
    batch through forward and backward passes and returns its losses; evaluate, which the main process alone calls;
    objective, the number that the best weights have least of; heed, which hears of the scores in every process;
    conclude, which the main process calls when they are in the history; state, what else its checkpoints hold.
    """

    def __init__(self, args: argparse.Namespace, kind: type[Windows]):
        """Open data, device and the checkpoint to start from. What is wrong with them raises InputError."""
        self.args, self.folder = args, args.checkpoint_dir
        self.device = pick_device(distributed.join(args.device))
        cli.writable_folder(self.folder, "--checkpoint_dir")
        self.start, self.weights_only = starting_point(args)
        self.content = checkpoint.read(self.start) if self.start else {}
        overrides = args.hparams if args.num_workers is None else f"{args.hparams},num_workers={args.num_workers}"
        self.hp = checkpoint.hparams_of(self.content, overrides)
        torch.manual_seed(self.hp.seed)
        torch.set_flush_denormal(True)  # near-zero activations would slow a CPU down to a quarter
        torch.backends.cudnn.benchmark = True
        self.precision = Precision(args.precision, self.device)
        self.windows, self.eval_windows = open_windows(kind, args.data_root, args.filelists_dir, self.hp)
        self.learners: dict[str, Learner] = {}

    @abstractmethod
    def forward(self, batch: dict) -> dict[str, torch.Tensor]: ...

    @abstractmethod
    def evaluate(self, step: int, batches: list[dict], log: SummaryWriter) -> dict[str, float]: ...

    @abstractmethod
    def objective(self, scores: dict[str, float]) -> float: ...

    def heed(self, scores: dict[str, float]) -> None:  # noqa: B027  most trainings have nothing to do here
        pass

    def conclude(self) -> None:  # noqa: B027
        pass

    def state(self) -> dict:
        return {}

    def fit(self, step_size: int, evaluate_every: int, save_every: int) -> None:
        """Train from the start's step on; everything is in steps but step_size, the windows that make one.

        Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint.
        """
        hp, main, patience = self.hp, distributed.is_main(), self.args.patience
        self.step_size = step_size
        first = 0 if self.weights_only else self.content.get("global_step", 0)
        end = hp.nepochs * len(self.windows) // step_size
        last = min(self.args.max_steps or end, end)
        if first >= last:
            raise InputError(
                f"nothing to do: the checkpoint is at step {first}, --max_steps at {last}; raise --max_steps"
            )
        self.history = History({} if self.weights_only else self.content, self.objective)
        batches = training_batches(self.windows, step_size, first)
        self.held_back = evaluation_batches(self.eval_windows, step_size) if main else []
        total = last if last < ENDLESS else None
        self.log = SummaryWriter(self.folder / "logs", purge_step=first + 1) if main else _NoLog()
        self.bar = tqdm(total=total, initial=first, unit="step", smoothing=0.05, disable=not main)
        meter = Meter(step_size, None if self.weights_only else self.content.get("meter"))
        print(f"{self.device} in {self.precision.name}, width {hp.width:g}, from step {first}", flush=True)

        with _StopSignal() as stop, self.log, self.bar:
            self.learners[""].network.train()
            if first == 0:
                self._look(0, {})
            for step in range(first + 1, last + 1):
                for part in range(1, hp.accumulate + 1):
                    meter.waits()
                    batch = self.to_device(next(batches))
                    meter.works()
                    meter.add(self._gather(batch, part == hp.accumulate))
                for learner in self.learners.values():
                    learner.update(step, last)
                meter.step_done()
                self.bar.update()

                between = step % LOG_EVERY != 0
                if not between:
                    meter.last = distributed.mean(meter.read())
                    for name, value in meter.last.items():
                        self.log.add_scalar(f"train/{name}", value, step)
                    self.bar.set_postfix_str(in_words(meter.last), refresh=False)
                ends = step == last
                if step % evaluate_every == 0 or ends:
                    self._look(step, meter.last)
                    if patience and self.history.since_best() >= patience:
                        self.bar.write(f"no better evaluation for {patience} times: the training ends here")
                        ends = True
                interrupted = stop.asked if distributed.world() == 1 else not between and distributed.any_of(stop.asked)
                if step % save_every == 0 or ends or interrupted:
                    self._save(step, meter)
                if interrupted:
                    self.bar.write(f"stopped at step {step}; without --checkpoint_path the same command goes on")
                    raise KeyboardInterrupt
                if ends:
                    return

    def to_device(self, batch: dict) -> dict:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def _gather(self, batch: dict, last: bool) -> dict[str, torch.Tensor]:
        """Forward and backward passes; gradients are exchanged with other processes only for a step's last batch."""
        with ExitStack() as contexts:
            if not last:
                for learner in self.learners.values():
                    contexts.enter_context(learner.no_exchange())
            try:
                return self.forward(batch)
            except torch.OutOfMemoryError as error:
                raise InputError("--device: has too little memory; raise accumulate with --hparams") from error

    def _look(self, step: int, losses: dict[str, float]) -> None:
        """Evaluate in the main process, tell the others, and keep the weights when they are the best so far."""
        main = distributed.is_main()
        scores = distributed.from_main(self.evaluate(step, self.held_back, self.log) if main else None)
        self.heed(scores)
        best = self.history.add(step, losses, scores)
        if best and step and main:
            weights = {**self._content(step), "state_dict": self.learners[""].best_weights.state_dict()}
            checkpoint.write(self.folder / "best.pth", {**weights, "optimizer": None})
        for name, value in scores.items():
            self.log.add_scalar(f"eval/{name}", value, step)
        self.bar.write(f"step {step}: {in_words(scores)}" + (f"; training: {in_words(losses)}" if losses else ""))
        if main:
            self.conclude()

    def _save(self, step: int, meter: Meter) -> None:
        """A numbered checkpoint in the published form, with the run's values and all it needs to go on exactly."""
        if not distributed.is_main():
            return
        self.history.saved = [*(saved for saved in self.history.saved if saved != step), step]
        parts = {prefix: {**learner.state(), **self._content(step)} for prefix, learner in self.learners.items()}
        parts[""] |= {**self.state(), "history": self.history.entries, "saved": self.history.saved}
        parts[""]["meter"] = meter.state()
        write_checkpoints(self.folder, NUMBERED.format(step), parts)
        self.history.thin(self.folder, self.args.keep)

    def _content(self, step: int) -> dict:
        epoch = step * self.step_size // len(self.windows)
        return {"global_step": step, "global_epoch": epoch, "hparams": self.hp.to_dict()}


def in_words(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


class _NoLog(nullcontext):
    """The log of all processes but the main one."""

    def add_scalar(self, *_):
        pass


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
