"""The loop of a training: step, evaluate, save, stop.

Exact resume: what a step does follows from the checkpoint before it alone. The checkpoint holds weights, optimizers,
averages, losses not yet logged and time spent; the sampler draws by seed and step (data/sampling.py).
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from math import ceil, isfinite
from time import monotonic
from types import FrameType
from typing import Any

import torch

from data.loading import evaluation_batches, started, steps_ahead, training_loader
from data.sampling import UNKNOWN
from metrics.generators import evenly_spaced
from training import TrainingOptions, checkpoint
from training.base import Batch, Training
from training.checkpoint import BEST, NUMBERED
from training.history import LossMeter, open_log
from utils import distributed, weight_files
from utils.errors import InputError
from utils.process import STOP_SIGNALS

LOG_EVERY = 10  # steps between readings of the losses, which make a GPU wait
EVALUATION_BATCH = 8  # windows at least, which are also those of the sample grid
EVALUATION_SHARE = 0.25  # of the time of a run with --max_minutes
FULL_EVALUATION = 20  # minutes; a shorter run evaluates fewer of the held-out windows and clips
FEW_STEPS = 20  # too few to learn anything
PACE_STEPS = 5  # after which the number of steps in the given minutes is estimated


def train(training_class: type[Training], options: TrainingOptions) -> None:
    """Run a training in all processes to its end and say what came of it."""
    with checkpoint.locked(options.checkpoint_dir, "--checkpoint_dir"):
        training = training_class(options)
        loop = Loop(training)
        if loop.finished:
            raise InputError(
                f"nothing to do: the checkpoint is at step {loop.step}, where the run ends; raise --max_steps or "
                "--max_minutes"
            )
        loop.run()
        if distributed.is_main():
            print("\n".join(training.conclusion()), flush=True)
    distributed.destroy_processes()


class Loop:
    """Runs a training from its current step."""

    def __init__(self, training: Training) -> None:
        self.training, self.networks, self.history = training, training.networks, training.history
        self.hp, self.step = training.hp, training.first_step
        resumed = training.resumed
        spent = resumed.get("seconds", 0.0), [*resumed.get("evaluation_seconds", ())]
        self.clock = Clock(training.last_step, training.options.max_minutes, *spent)
        self.progress = self.clock.progress(self.step)
        self.done = self.progress >= 1
        self.meter = LossMeter(resumed.get("metrics", {}))
        self.waited, self.logged_at = 0.0, self.clock.seconds  # seconds waited for data, and at the last log entry
        self.saved = resumed.get("saved", []) if training.same_folder else []  # steps of the run's checkpoints
        self.steps_ahead = distributed.broadcast(steps_ahead(self.hp))
        shortened = min(1.0, (self.clock.minutes or FULL_EVALUATION) / FULL_EVALUATION)
        self.evaluated_share = resumed.get("evaluated_share", shortened)

    @property
    def evaluated(self) -> bool:
        """Whether the current weights have been evaluated."""
        return bool(self.history.entries) and self.history.entries[-1]["step"] == self.step

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: the limit is reached, and no stop has cut off the last evaluation."""
        return self.done and (self.evaluated or not self.history.entries)

    def run(self) -> None:
        """Train until a limit, or until a signal stops the run after the current step, with a checkpoint.
        Raises InputError where the weights become NaN or infinite, KeyboardInterrupt after a stop."""
        training, step, clock = self.training, self.step, self.clock
        loader = training_loader(training.windows, training.batch_size, step)
        self.sampler: Any = loader.batch_sampler
        self._plan_windows()
        held_out = self._held_out_batches()
        if distributed.is_main():
            checkpoint.write_record(training.folder, training.record)
        precision = training.precision.name
        print(f"{training.device} in {precision}, width {self.hp.width:g}, from step {step}", flush=True)

        log = open_log(training.folder, step, training.last_step, clock.minutes, clock.seconds / 60)
        with StopSignal() as self.stop, log as self.log, ExitStack() as workers:
            self.networks[""].train()
            self._finish_step(held_out)  # evaluates the start, or repeats an evaluation that a stop cut off
            if not self.done:
                batches = workers.enter_context(started(loader))
                batches = chain([next(batches)], batches)  # the workers' start is not counted as learning
            while not self.done:
                self._train_step(batches)
                self._finish_step(held_out)

    def _train_step(self, batches: Iterator[Batch]) -> None:
        self.step += 1
        parts, reading = self.hp.accumulate, {}
        with self.clock.learning():
            for part in range(1, parts + 1):
                since = monotonic()
                batch = self.training.to_device(next(batches))
                self.waited += monotonic() - since
                self.meter.add(self._forward_backward(batch, last_part=part == parts))
            for network in self.networks.values():
                network.update(self.step, self.progress)
            if self.step % LOG_EVERY == 0:
                reading = self.meter.means()
        if reading:
            self._log_losses(reading)
        self.log.step_done(self.clock.seconds / 60)
        self.progress = self.clock.progress(self.step)
        self.done = self.progress >= 1
        self._plan_windows()
        if self.clock.minutes and (self.done or self.step == self.training.first_step + PACE_STEPS):
            steps = round(self.step / self.progress)
            few = "; that is too few to learn much: give more minutes" if steps < FEW_STEPS else ""
            self.log.line(f"about {steps} steps fit into {self.clock.minutes:g} minutes at this pace{few}")

    def _forward_backward(self, batch: Batch, last_part: bool) -> Batch:
        """train_on; processes exchange gradients only for the last part of a step."""
        with ExitStack() as contexts:
            if not last_part:
                for network in self.networks.values():
                    contexts.enter_context(network.no_sync())
            try:
                return self.training.train_on(self.step, batch)
            except torch.OutOfMemoryError as error:
                raise InputError("--device: has too little memory; raise accumulate with --hparams") from error

    def _finish_step(self, held_out: list[Batch]) -> None:
        """Evaluate and save where that is due, and end the run after a stop signal."""
        training, step, before = self.training, self.step, len(self.history.entries)
        stopped = distributed.any_process(self.stop.requested)
        if not stopped and self._evaluation_due():
            self._evaluate(held_out)
            if self.evaluated and 0 < self.hp.patience <= self.history.since_lowest():
                self.log.line(f"no better evaluation {self.hp.patience} times in a row: the training ends")
                self.done = True
            stopped = distributed.any_process(self.stop.requested)
        changed = step > training.first_step or (step > 0 and len(self.history.entries) > before)
        due = step == 1 or step % training.setting("checkpoint_interval") == 0  # 1: shows whether it can write
        if changed and (due or self.done or stopped):
            self._save()
        if stopped:
            if changed:
                self.log.line(f"stopped at step {step}; the same command resumes the run")
            raise KeyboardInterrupt

    def _evaluation_due(self) -> bool:
        if self.evaluated or not (self.done or self.training.evaluates(self.step)):
            return False
        return self.step == 0 or self.done or self.clock.affords_evaluation()

    def _evaluate(self, held_out: list[Batch]) -> None:
        """Evaluate in the main process, tell the others, and keep the weights when they are the best so far. A stop
        cuts the evaluation off; the resumed run repeats it."""
        training, losses, scores, footage = self.training, self.meter.last, None, {}
        self._check_weights()
        if self.log.tensorboard:
            with self.log.paused(), self.clock.evaluating(), suppress(StopRequest), self.stop.interrupts():
                footage = training.footage_scores
                scores = training.evaluate(self.step, held_out, self.log.tensorboard)
            self.networks[""].train()
        scores, footage = distributed.broadcast((scores, footage))
        if scores is None:
            return
        training.footage_scores = footage
        training.on_evaluation(scores)
        if self.history.add(self.step, losses, scores) and distributed.is_main():
            weights = {**self._header(), "state_dict": self.networks[""].best_weights.state_dict()}
            weight_files.write(training.folder / BEST, {**weights, "optimizer": None})
        self.log.scores(scores, losses, self.step)
        for remark in training.remarks(self.step, scores):
            self.log.line(remark)
        if training.expert and distributed.is_main():
            self.history.write_summary(training.folder, training.footage_scores)

    def _held_out_batches(self) -> list[Batch]:
        """The batches to evaluate on, in the main process: fewer of them in a short run with --max_minutes."""
        training, share = self.training, self.evaluated_share
        if share < 1:
            print(f"evaluates {share:.0%} of the held-out windows and clips, as the run is short")
        clips = training.scored_clips
        training.scored_clips = evenly_spaced(clips, ceil(len(clips) * share))
        if not distributed.is_main():
            return []
        batches = evaluation_batches(training.eval_windows, max(EVALUATION_BATCH, training.batch_size))
        return evenly_spaced(batches, ceil(len(batches) * share))

    def _save(self) -> None:
        """Write a numbered checkpoint in the published form, with the run's values and all that an exact resume needs,
        and delete old ones."""
        self._check_weights()
        if not distributed.is_main():
            return
        training, history = self.training, self.history
        self.saved = [*(step for step in self.saved if step != self.step), self.step]
        contents = {prefix: {**network.state(), **self._header()} for prefix, network in self.networks.items()}
        contents[""] |= {
            **training.state(), "history": history.entries, "saved": self.saved, "best_step": history.best_step,
            "started_from": training.started_from, "metrics": self.meter.state(), "seconds": self.clock.seconds,
            "evaluation_seconds": self.clock.evaluations, "evaluated_share": self.evaluated_share,
        }  # fmt: skip
        frames_first = self.sampler.plan.frames_first
        if 0 < self.hp.frames_first < 1 and frames_first <= self.step + self.steps_ahead:
            contents[""]["frames_first"] = frames_first
        for prefix, content in sorted(contents.items(), reverse=True):  # the run's own, "", last: it is never alone
            weight_files.write(training.folder / f"{prefix}{NUMBERED.format(self.step)}", content)
        while len(self.saved) > training.options.keep:
            checkpoint.delete(training.folder, self.saved.pop(0))

    def _header(self) -> dict:
        epoch = self.step * self.training.batch_size // len(self.training.windows)
        return {"global_step": self.step, "global_epoch": epoch, "hparams": self.hp.to_dict()}

    def _log_losses(self, losses: dict[str, float]) -> None:
        """Log the means over the last steps, the frames a second, and the share of time spent waiting for data."""
        training, seconds = self.training, self.clock.seconds - self.logged_at
        steps = min(LOG_EVERY, self.step - training.first_step)
        frames = training.windows.plan(training.batch_size).most_frames * steps
        rates = {"frames/s": frames / seconds, "waiting": self.waited / seconds}
        self.meter.last = distributed.all_reduce_mean(losses | rates)
        self.waited, self.logged_at = 0.0, self.clock.seconds
        if not all(map(isfinite, self.meter.last.values())):
            self._check_weights()
        self.log.losses(self.meter.last, self.step)

    def _check_weights(self) -> None:
        """Raise InputError where weights are NaN or infinite. Losses alone may be in fp16, which skips such steps."""
        training = self.training
        weights = (weight for network in self.networks.values() for weight in network.network.parameters())
        if all(bool(weight.isfinite().all()) for weight in weights):
            return
        rates = ", ".join(f"{name}={getattr(self.hp, name):g}" for name in training.rate_names)
        good = training.folder / BEST if (training.folder / BEST).exists() else training.start
        remedy = f"start from {good}, the last good checkpoint," if good else "start again"
        raise InputError(
            f"step {self.step}: the weights are NaN or infinite, as with too high a learning rate ({rates}): lower it "
            f"with --hparams, and {remedy} in another --checkpoint_dir"
        )

    def _plan_windows(self) -> None:
        """Where hp.frames_first is a share of the run, tell the sampler when windows begin. With --max_minutes that
        follows from the pace, as workers draw steps ahead. Once begun, windows stay, even if the limit is raised."""
        share, plan = self.hp.frames_first, self.sampler.plan
        if plan.frames_first != UNKNOWN:
            return
        next_drawn = self.step + self.steps_ahead
        if "frames_first" in self.training.resumed:
            first = self.training.resumed["frames_first"]
        elif not self.clock.minutes:
            first = max(1, round(share * self.training.last_step))
        elif self.step and self.progress * next_drawn >= share * self.step:
            first = next_drawn
        else:
            return
        self.sampler.plan = replace(plan, frames_first=first)


@dataclass
class Clock:
    """How far a run is. Minutes are those of learning; evaluations are counted apart. All processes follow the main
    one's, since the learning rate may depend on it."""

    last_step: int
    minutes: float | None  # the limit, None for none
    seconds: float = 0.0  # of learning so far
    evaluations: list[float] = field(default_factory=list)  # seconds of each so far

    def progress(self, step: int) -> float:
        """0..1, of the steps or of the minutes, whichever is farther."""
        done = step / self.last_step
        if self.minutes:
            done = max(done, distributed.broadcast(self.seconds) / (60 * self.minutes))
        return min(1.0, done)

    @contextmanager
    def learning(self) -> Iterator[None]:
        since = monotonic()
        yield
        self.seconds += monotonic() - since

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        since = monotonic()
        yield
        self.evaluations.append(monotonic() - since)

    def affords_evaluation(self) -> bool:
        """Whether one more evaluation and the last one stay within EVALUATION_SHARE of the time of a run of minutes."""
        if not self.minutes:
            return True
        allowed = 60 * self.minutes * EVALUATION_SHARE / (1 - EVALUATION_SHARE)
        return distributed.broadcast(sum(self.evaluations) + 2 * max(self.evaluations, default=0.0) <= allowed)


class StopRequest(KeyboardInterrupt):
    """Raised by a stop signal in work that may be cut off."""


class StopSignal:
    """A block in which the first stop signal is a request, and is answered with a line; a second Ctrl-C interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._cuts_off = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._request) for number in heard}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """A block in which a request, also one made before, raises StopRequest."""
        if self.requested:
            raise StopRequest
        self._cuts_off = True
        try:
            yield
        finally:
            self._cuts_off = False

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._handlers.get(signal.SIGINT, signal.default_int_handler))
        if distributed.is_main():
            text = "stopping: the evaluation is cut off" if self._cuts_off else "stopping after this step"
            bar = "\n" if sys.stderr.isatty() else ""
            with suppress(RuntimeError, OSError):  # the stream is in use, or closed
                print(f"{bar}{text}", file=sys.stderr, flush=True)
        if self._cuts_off:
            self._cuts_off = False
            raise StopRequest
