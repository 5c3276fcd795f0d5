"""The run of a training: the loop with its log, evaluations, checkpoints and stop signal."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from math import ceil, inf, isfinite
from typing import Any

import torch

from data.loading import evaluation_batches, started, steps_ahead, training_loader
from data.sampling import UNKNOWN
from metrics.generator_score import evenly_spaced
from training import run_directory, summary
from training.base import Training
from training.metric_logger import MetricLogger
from training.options import TrainingOptions
from training.run_directory import BEST, NUMBERED, write_checkpoints
from training.run_log import RunLog
from training.schedule import EVALUATION_SHARE
from training.stopping import StopRequest, StopSignal
from utils import distributed, weight_files
from utils.errors import InputError

GOES_ON = "to go on give the same command, without --checkpoint_path and --reset_optimizer"
LOG_EVERY = 10  # steps between readings of the losses, which make a GPU wait
EVALUATED_AT_ONCE = 8  # windows at least, which are also those of the sample grid
FEWEST_EVALUATIONS = 3  # at the start, on the way, at the end: so many there is time for, on fewer clips if need be
FEW_STEPS = 20  # in which hardly anything is learnt
PACE_STEPS = 5  # after which it is told how many fit into the minutes

Batch = dict[str, torch.Tensor]


class Trainer:
    """Runs a training from where it has come to. clock: the time spent; metrics: the losses since the last reading;
    goes_on: what is said of a run that was stopped."""

    def __init__(self, training: Training, goes_on: str = GOES_ON) -> None:
        self.goes_on = goes_on
        self.training, self.networks, self.history = training, training.networks, training.history
        self.clock, resumed = training.clock(), training.resumed
        frames = training.windows.plan(training.schedule.step_size).most_frames
        self.metrics = MetricLogger(frames, resumed.get("metrics") or resumed.get("meter"))
        self.evaluated_share = resumed.get("evaluated_share", 1.0)
        self.steps_ahead = distributed.broadcast(steps_ahead(training.hp))

    def run(self) -> int:
        """Train to the last step, which is returned. Ctrl-C or SIGTERM ends the run after the current step, with a
        checkpoint. Losses that are no numbers any more are an InputError."""
        training, schedule = self.training, self.training.schedule
        first, last = training.first_step, training.last_step
        limit, cut_off = training.limit_reached(), training.cut_off()
        if limit and not cut_off:
            raise InputError(f"nothing to do: the checkpoint is at step {first}, {limit}; raise the limit")
        loader = training_loader(training.windows, schedule.step_size, first)
        self.sampler: Any = loader.batch_sampler
        self._plan_frames(first)
        held_out = self._held_out()
        if distributed.is_main():
            run_directory.write_record(training.folder, training.record)
        device, precision = training.device, training.precision.name
        print(f"{device} in {precision}, width {training.hp.width:g}, from step {first}", flush=True)

        with StopSignal() as stop, RunLog(training.folder, first, last, self.clock) as log:
            self.networks[""].train()
            if first == 0 or cut_off:  # by a stop during the evaluation
                if first == 0:
                    held_out = self._fitted(held_out, log, stop)
                self._evaluate(first, held_out, log, stop)
                if distributed.any_process(stop.asked):
                    raise KeyboardInterrupt
            if limit:
                return first
            with started(loader) as batches:
                return self._train(chain([next(batches)], batches), held_out, log, stop)  # what is waited for first

    def _train(self, batches: Iterator[Batch], held_out: list[Batch], log: RunLog, stop: StopSignal) -> int:
        training, clock, schedule = self.training, self.clock, self.training.schedule
        last, progress = training.last_step, clock.progress(training.first_step)
        for step in range(training.first_step + 1, last + 1):
            with clock.learning():
                self._train_step(step, progress, batches)
                if step % LOG_EVERY == 0:
                    self._read_losses(step, log)
            log.step_done()
            progress = clock.progress(step)
            self._plan_frames(step)
            ends = step == last or progress >= 1
            if clock.minutes and (ends or step == training.first_step + PACE_STEPS):
                self._tell_pace(step, progress, log)
            stopped = distributed.any_process(stop.asked)
            due = schedule.evaluates(step) and clock.affords_evaluation()
            if (due or ends) and not stopped:
                self._evaluate(step, held_out, log, stop)
                ends = ends or self._out_of_patience(log)
                stopped = distributed.any_process(stop.asked)
            if step == 1 or schedule.saves(step) or ends or stopped:  # at 1, as published: can it be written?
                self._save(step)
            if stopped:
                log.line(f"stopped at step {step}; {self.goes_on}")
                raise KeyboardInterrupt
            if ends:
                return step
        raise AssertionError("a run has at least one step")

    def _plan_frames(self, step: int) -> None:
        """Where hp.frames_first is a share of the run, see that windows begin when it is used up. Of a run of some
        minutes that is foreseen by the pace: loaders draw ahead. Begun, windows stay, however far the run is to go."""
        share, plan, resumed = self.training.hp.frames_first, self.sampler.plan, self.training.resumed
        if plan.frames_first != UNKNOWN:
            return
        next_drawn = step + self.steps_ahead
        if "frames_first" in resumed:
            first = resumed["frames_first"]
        elif not self.clock.minutes:
            first = max(1, round(share * self.training.last_step))
        elif step and self.clock.progress(step) * next_drawn >= share * step:
            first = next_drawn
        else:
            return
        self.sampler.plan = replace(plan, frames_first=first)

    def _tell_pace(self, step: int, progress: float, log: RunLog) -> None:
        steps = round(step / progress)
        little = "; hardly anything is learnt in so few: give more minutes" if steps < FEW_STEPS else ""
        log.line(f"about {steps} steps fit into {self.clock.minutes:g} minutes at this pace{little}")

    def _held_out(self) -> list[Batch]:
        """The batches to evaluate on, of the main process alone."""
        step_size = max(EVALUATED_AT_ONCE, self.training.schedule.step_size)
        main = distributed.is_main()
        return self._thinned(evaluation_batches(self.training.eval_windows, step_size) if main else [])

    def _thinned(self, batches: list[Batch]) -> list[Batch]:
        self.training.evaluate_share(self.evaluated_share)
        return evenly_spaced(batches, ceil(len(batches) * self.evaluated_share))

    def _fitted(self, batches: list[Batch], log: RunLog, stop: StopSignal) -> list[Batch]:
        """The batches, or fewer of them where with --max_minutes evaluating them all would take too long."""
        allowed = self.clock.evaluation_seconds / FEWEST_EVALUATIONS
        if allowed == inf:
            return batches
        needed = 0.0
        if distributed.is_main():
            with suppress(StopRequest), stop.interrupts():
                needed = self.training.seconds_of_evaluation(batches)
        needed = distributed.broadcast(needed)
        self.networks[""].train()
        if needed <= allowed:
            return batches
        self.evaluated_share = allowed / needed
        log.line(
            f"{self.evaluated_share:.0%} of what is kept aside is evaluated: all of it would take {needed:.0f} s, and "
            f"evaluations are to take {EVALUATION_SHARE:.0%} of the time"
        )
        return self._thinned(batches)

    def _train_step(self, step: int, progress: float, batches: Iterator[Batch]) -> None:
        accumulate = self.training.hp.accumulate
        for part in range(1, accumulate + 1):
            self.metrics.start_waiting()
            batch = self.training.to_device(next(batches))
            self.metrics.stop_waiting()
            self.metrics.add(self._accumulate(step, batch, last_part=part == accumulate))
        for network in self.networks.values():
            network.update(step, progress)
        self.metrics.step_done()

    def _accumulate(self, step: int, batch: Batch, last_part: bool) -> Batch:
        """train_on; gradients are exchanged with other processes only for a step's last batch."""
        with ExitStack() as contexts:
            if not last_part:
                for network in self.networks.values():
                    contexts.enter_context(network.no_sync())
            try:
                return self.training.train_on(step, batch)
            except torch.OutOfMemoryError as error:
                raise InputError("--device: has too little memory; raise accumulate with --hparams") from error

    def _read_losses(self, step: int, log: RunLog) -> None:
        self.metrics.last = distributed.all_reduce_mean(self.metrics.read())
        if not all(map(isfinite, self.metrics.last.values())):
            self._refuse_divergence(step)
        log.losses(self.metrics.last, step)

    def _refuse_divergence(self, step: int) -> None:
        """Raises InputError where weights are no finite numbers any more, as they are after a step whose loss was none,
        but in fp16, where such a step is left out."""
        training = self.training
        weights = (weight for network in self.networks.values() for weight in network.network.parameters())
        if all(bool(weight.isfinite().all()) for weight in weights):
            return
        rates = ", ".join(f"{name}={getattr(training.hp, name):g}" for name in training.rate_names)
        good = training.folder / BEST if (training.folder / BEST).exists() else training.start
        go_on = f"start from {good}, the last good checkpoint," if good else "start anew"
        raise InputError(
            f"step {step}: the weights are no numbers any more, as with too high a learning rate ({rates}): lower it "
            f"with --hparams, and {go_on} in another --checkpoint_dir"
        )

    def _evaluate(self, step: int, held_out: list[Batch], log: RunLog, stop: StopSignal) -> None:
        """Evaluate in the main process, tell the others, and keep the weights when they are the best so far. A stop
        cuts the evaluation off; it is made up for when the run goes on."""
        training, losses, scores, truth = self.training, self.metrics.last, None, {}
        self._refuse_divergence(step)
        if log.tensorboard:
            with log.paused(), self.clock.evaluating(), suppress(StopRequest), stop.interrupts():
                truth = training.footage_scores
                scores = training.evaluate(step, held_out, log.tensorboard)
            self.networks[""].train()
        scores, truth = distributed.broadcast((scores, truth))
        if scores is None:
            return
        training.footage_scores = truth
        training.on_evaluation(scores)
        best = self.history.add(step, losses, scores)
        if best and distributed.is_main():
            weights = {**self._progress(step), "state_dict": self.networks[""].best_weights.state_dict()}
            weight_files.write(training.folder / BEST, {**weights, "optimizer": None})
            if step or training.start:
                training.on_best(weights)
        log.scores(scores, losses, step)
        for remark in training.remarks(step, scores):
            log.line(remark)
        if distributed.is_main():
            training.write_summary()

    def _out_of_patience(self, log: RunLog) -> bool:
        patience = self.training.hp.patience
        if not patience or self.history.since_lowest() < patience:
            return False
        log.line(f"no better evaluation for {patience} times: the training ends here")
        return True

    def _save(self, step: int) -> None:
        """A numbered checkpoint in the published form, with the run's values and all it needs to go on exactly."""
        self._refuse_divergence(step)
        if not distributed.is_main():
            return
        training, history = self.training, self.history
        history.saved = [*(saved for saved in history.saved if saved != step), step]
        parts = {prefix: {**network.state(), **self._progress(step)} for prefix, network in self.networks.items()}
        parts[""] |= {**training.state(), "history": history.entries, "saved": history.saved}
        parts[""] |= {"best_step": history.best_step, "started_from": training.started_from}
        parts[""] |= {"metrics": self.metrics.state(), "seconds": self.clock.seconds}
        frames_first = self.sampler.plan.frames_first
        if 0 < training.hp.frames_first < 1 and frames_first <= step + self.steps_ahead:
            parts[""]["frames_first"] = frames_first
        parts[""] |= {"evaluation_seconds": self.clock.evaluations, "evaluated_share": self.evaluated_share}
        write_checkpoints(training.folder, NUMBERED.format(step), parts)
        history.delete_old(training.folder, training.options.keep)

    def _progress(self, step: int) -> dict:
        epoch = step * self.training.schedule.step_size // len(self.training.windows)
        content = {"global_step": step, "global_epoch": epoch, "hparams": self.training.hp.to_dict()}
        if generator := self.training.record.get("generator"):  # that a refiner belongs to
            content["generator"] = generator
        return content


def train(training_class: type[Training], options: TrainingOptions) -> int:
    """Run a training in all processes to its end, and say what came of it; returns the exit code."""
    with run_directory.claimed(options.checkpoint_dir, "--checkpoint_dir"):
        training = training_class(options)
        Trainer(training).run()
        code = 0
        if distributed.is_main():
            lines = [summary.best_in_words(training.folder, training.history), *training.conclusion()]
            print("\n".join(lines), flush=True)
            code = training.exit_code()
    code = distributed.broadcast(code)
    distributed.destroy_processes()
    return code
