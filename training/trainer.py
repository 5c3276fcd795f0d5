"""What all trainings share: set-up, the loop with its log, evaluations, checkpoints and stop signal."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from math import ceil, inf

import torch
from torch.utils.tensorboard import SummaryWriter

from data.dataset import Windows
from data.loading import evaluation_batches, open_windows, training_batches
from hparams import HParams
from metrics.generator_score import choose_clips
from models.checkpoint import hparams_of
from training import run_directory, summary
from training.metric_logger import MetricLogger
from training.network import TrainableNetwork
from training.options import TrainingOptions
from training.run_directory import BEST, NUMBERED, History, starting_point, write_checkpoints
from training.run_log import RunLog
from training.schedule import EVALUATION_SHARE, Clock, Schedule
from training.stopping import StopRequest, StopSignal
from utils import distributed, weight_files
from utils.devices import Precision, keep_freed_memory, pick_device
from utils.errors import InputError
from utils.files import writable_folder

GOES_ON = "to go on give the same command, without --checkpoint_path and --reset_optimizer"
LOG_EVERY = 10  # steps between readings of the losses, which make a GPU wait
EVALUATED_AT_ONCE = 8  # windows at least, which are also those of the sample grid
FEWEST_EVALUATIONS = 3  # at the start, on the way, at the end: so many there is time for, on fewer clips if need be
FEW_STEPS = 20  # in which hardly anything is learnt


class Training(ABC):
    """One training run. A subclass says what is trained and how.

    network_name: of the network under training, in words; networks: those under training by the prefix of their
    checkpoints' names, "" for the one that is evaluated; to be filled by the subclass.
    """

    network_name: str
    windows_class: type[Windows]

    def __init__(self, options: TrainingOptions) -> None:
        """Open data, device and the checkpoint to start from. What is wrong with them raises InputError."""
        self.options, self.folder = options, options.checkpoint_dir
        self.device = pick_device(distributed.init_processes(options.device))
        writable_folder(self.folder, "--checkpoint_dir")
        self.record = {"network": self.network_name, **self.record_of_run()}
        run_directory.check(self.folder, self.record)
        self.record |= {"data_root": str(options.data_root), "filelists_dir": str(options.filelists_dir)}
        self.start, self.weights_only = starting_point(options)
        self.content = weight_files.read(self.start) if self.start else {}
        self.resumed = {} if self.weights_only else self.content  # what a run that goes on takes over
        self.hp = self.make_hparams()
        torch.manual_seed(self.hp.seed)
        torch.set_flush_denormal(True)  # near-zero activations would slow a CPU down to a quarter
        torch.backends.cudnn.benchmark = True
        keep_freed_memory(self.device)
        self.precision = Precision(options.precision, self.device)
        self.windows, self.eval_windows = open_windows(
            self.training_windows_class(), self.windows_class, options.data_root, options.filelists_dir, self.hp
        )
        self.networks: dict[str, TrainableNetwork] = {}
        self.schedule = self.make_schedule(self.hp)
        self.goes_on = self.start is not None and self.start.resolve().parent == self.folder.resolve()
        self.history = History(self.resumed, self.objective, self.goes_on)
        frames = self.windows.plan(self.schedule.step_size).most_frames
        self.metrics = MetricLogger(frames, self.resumed.get("metrics") or self.resumed.get("meter"))

        self.evaluated_share = self.resumed.get("evaluated_share", 1.0)

    def record_of_run(self) -> dict[str, str]:
        """What a run directory must agree with besides the network, by the flag that says it."""
        return {}

    def make_hparams(self) -> HParams:
        """The values of this run: those of the checkpoint, changed by --hparams."""
        return hparams_of(self.content, self.options.hparams_overrides, of_network=self.weights_only)

    def training_windows_class(self) -> type[Windows]:
        """What is trained on, where that is not what is evaluated on."""
        return self.windows_class

    @staticmethod
    @abstractmethod
    def make_schedule(hp: HParams) -> Schedule: ...

    @abstractmethod
    def train_on(self, step: int, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Forward and backward passes of one batch; returns its losses."""

    @abstractmethod
    def evaluate(
        self, step: int, batches: list[dict[str, torch.Tensor]], tensorboard: SummaryWriter
    ) -> dict[str, float]:
        """Scores of the network on the evaluation batches; the main process alone calls it."""

    def seconds_of_evaluation(self, batches: list[dict[str, torch.Tensor]]) -> float:
        """How long `evaluate` takes, by trial; 0 where it takes no time worth speaking of."""
        return 0.0

    def evaluate_share(self, share: float) -> None:
        """From now on so much of what `evaluate` looks at besides its batches is enough."""
        return None

    @abstractmethod
    def objective(self, scores: dict[str, float]) -> float:
        """The number that the best weights have least of."""

    def on_evaluation(self, scores: dict[str, float]) -> None:
        """Called in every process with the scores of an evaluation."""
        return None

    def on_best(self, weights: dict) -> None:
        """Called in the main process with the content of best.pth when that was written, of a run from scratch but for
        its start."""
        return None

    def write_summary(self) -> None:
        """Called in the main process when an evaluation is in the history."""
        return None

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        """What there is to say to the user about an evaluation."""
        return []

    def state(self) -> dict:
        """What the run's checkpoints hold besides the networks."""
        return {}

    def conclusion(self) -> list[str]:
        """What there is to say at the end of a run: which files matter, and the commands that take them."""
        return []

    def exit_code(self) -> int:
        """Of a run that came to its end: 1 where it has not made what it is for."""
        return 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self._limit_reached()) and not self._cut_off()

    def _cut_off(self) -> bool:
        """Whether a stop has cut off the evaluation that the checkpoint is due."""
        first, evaluated = self.resumed.get("global_step", 0), [entry["step"] for entry in self.history.entries]
        due = self.schedule.evaluates(first) or bool(self._limit_reached())
        return bool(evaluated) and first not in evaluated and due

    def _limit_reached(self) -> str:
        """What ends the run at the checkpoint that it goes on from, "" where nothing does."""
        first, last = self.resumed.get("global_step", 0), self._last_step()
        if first >= last:
            return f"--max_steps at {last}"
        return f"the {self.options.max_minutes:g} minutes are over" if self._clock().progress(first) >= 1 else ""

    def _clock(self) -> Clock:
        spent = self.resumed.get("seconds", 0.0), self.resumed.get("evaluation_seconds", ())
        return Clock(self._last_step(), self.options.max_minutes, *spent)

    def run(self) -> int:
        """Train to the last step, which is returned. Ctrl-C or SIGTERM ends the run after the current step, with a
        checkpoint."""
        first, last = self.resumed.get("global_step", 0), self._last_step()
        self.clock = clock = self._clock()
        limit, cut_off = self._limit_reached(), self._cut_off()
        if limit and not cut_off:
            raise InputError(f"nothing to do: the checkpoint is at step {first}, {limit}; raise the limit")
        batches = training_batches(self.windows, self.schedule.step_size, first)
        held_out = self._held_out()
        log = RunLog(self.folder, first, last)
        if distributed.is_main():
            run_directory.write_record(self.folder, self.record)
        print(f"{self.device} in {self.precision.name}, width {self.hp.width:g}, from step {first}", flush=True)

        with StopSignal() as stop, log:
            self.networks[""].train()
            if first == 0 or cut_off:  # by a stop during the evaluation
                if first == 0:
                    held_out = self._fitted(held_out, log)
                self._evaluate(first, self.metrics.last, held_out, log, stop)
                if distributed.any_process(stop.asked):
                    raise KeyboardInterrupt
            if limit:
                return first
            for step in range(first + 1, last + 1):
                with clock.learning():
                    self._train_step(step, clock.progress(step - 1), batches)
                    if step % LOG_EVERY == 0:
                        self.metrics.last = distributed.all_reduce_mean(self.metrics.read())
                        log.losses(self.metrics.last, step)
                log.step_done()
                ends = step == last or clock.progress(step) >= 1
                stopped = distributed.any_process(stop.asked)
                due = self.schedule.evaluates(step) and clock.affords_evaluation()
                if (due or ends) and not stopped:
                    self._evaluate(step, self.metrics.last, held_out, log, stop)
                    ends = ends or self._out_of_patience(log)
                    stopped = distributed.any_process(stop.asked)
                if step == 1 or self.schedule.saves(step) or ends or stopped:  # at 1, as published: can it be written?
                    self._save(step)
                if stopped:
                    log.line(f"stopped at step {step}; {GOES_ON}")
                    raise KeyboardInterrupt
                if ends:
                    return step
        raise AssertionError("a run has at least one step")

    def _held_out(self) -> list[dict[str, torch.Tensor]]:
        """The batches to evaluate on, of the main process alone."""
        step_size = max(EVALUATED_AT_ONCE, self.schedule.step_size)
        return self._thinned(evaluation_batches(self.eval_windows, step_size) if distributed.is_main() else [])

    def _thinned(self, batches: list) -> list:
        self.evaluate_share(self.evaluated_share)
        return choose_clips(batches, ceil(len(batches) * self.evaluated_share))

    def _fitted(self, batches: list, log: RunLog) -> list:
        """The batches, or fewer of them where with --max_minutes evaluating them all would take too long."""
        allowed = self.clock.evaluation_seconds / FEWEST_EVALUATIONS
        if allowed == inf:
            return batches
        needed = distributed.broadcast(self.seconds_of_evaluation(batches) if distributed.is_main() else 0.0)
        self.networks[""].train()
        if needed <= allowed:
            return batches
        self.evaluated_share = allowed / needed
        log.line(
            f"{self.evaluated_share:.0%} of what is kept aside is evaluated: all of it would take {needed:.0f} s, and "
            f"evaluations are to take {EVALUATION_SHARE:.0%} of the time"
        )
        return self._thinned(batches)

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def _last_step(self) -> int:
        end = self.hp.nepochs * len(self.windows) // self.schedule.step_size
        return min(self.hp.max_steps or end, end)

    def _train_step(self, step: int, progress: float, batches: Iterator[dict[str, torch.Tensor]]) -> None:
        for part in range(1, self.hp.accumulate + 1):
            self.metrics.start_waiting()
            batch = self.to_device(next(batches))
            self.metrics.stop_waiting()
            self.metrics.add(self._accumulate(step, batch, last_part=part == self.hp.accumulate))
        for network in self.networks.values():
            network.update(step, progress)
        self.metrics.step_done()

    def _accumulate(self, step: int, batch: dict[str, torch.Tensor], last_part: bool) -> dict[str, torch.Tensor]:
        """train_on; gradients are exchanged with other processes only for a step's last batch."""
        with ExitStack() as contexts:
            if not last_part:
                for network in self.networks.values():
                    contexts.enter_context(network.no_sync())
            try:
                return self.train_on(step, batch)
            except torch.OutOfMemoryError as error:
                raise InputError("--device: has too little memory; raise accumulate with --hparams") from error

    def _evaluate(self, step: int, losses: dict[str, float], held_out: list, log: RunLog, stop: StopSignal) -> None:
        """Evaluate in the main process, tell the others, and keep the weights when they are the best so far. A stop
        cuts the evaluation off; it is made up for when the run goes on."""
        scores = None
        if log.tensorboard:
            with self.clock.evaluating(), suppress(StopRequest), stop.interrupts():
                scores = self.evaluate(step, held_out, log.tensorboard)
            self.networks[""].train()
        scores = distributed.broadcast(scores)
        if scores is None:
            return
        self.on_evaluation(scores)
        best = self.history.add(step, losses, scores)
        if best and distributed.is_main():
            weights = {**self._progress(step), "state_dict": self.networks[""].best_weights.state_dict()}
            weight_files.write(self.folder / BEST, {**weights, "optimizer": None})
            if step or self.start:
                self.on_best(weights)
        log.scores(scores, losses, step)
        for remark in self.remarks(step, scores):
            log.line(remark)
        if distributed.is_main():
            self.write_summary()

    def _out_of_patience(self, log: RunLog) -> bool:
        patience = self.hp.patience
        if not patience or self.history.since_best() < patience:
            return False
        log.line(f"no better evaluation for {patience} times: the training ends here")
        return True

    def _save(self, step: int) -> None:
        """A numbered checkpoint in the published form, with the run's values and all it needs to go on exactly."""
        if not distributed.is_main():
            return
        self.history.saved = [*(saved for saved in self.history.saved if saved != step), step]
        parts = {prefix: {**network.state(), **self._progress(step)} for prefix, network in self.networks.items()}
        parts[""] |= {**self.state(), "history": self.history.entries, "saved": self.history.saved}
        parts[""] |= {"metrics": self.metrics.state(), "seconds": self.clock.seconds}
        parts[""] |= {"evaluation_seconds": self.clock.evaluations, "evaluated_share": self.evaluated_share}
        write_checkpoints(self.folder, NUMBERED.format(step), parts)
        self.history.delete_old(self.folder, self.options.keep)

    def _progress(self, step: int) -> dict:
        epoch = step * self.schedule.step_size // len(self.windows)
        return {"global_step": step, "global_epoch": epoch, "hparams": self.hp.to_dict()}


def train(training: Training) -> int:
    """Run a training in all processes to its end, and say what came of it; returns the exit code."""
    step, code = training.run(), 0
    if distributed.is_main():
        if training.options.max_minutes and step < FEW_STEPS:
            print(f"steps in these minutes: {step}, in which hardly anything is learnt; raise --max_minutes")
        lines = [summary.best_in_words(training.folder, training.history), *training.conclusion()]
        print("\n".join(lines), flush=True)
        code = training.exit_code()
    code = distributed.broadcast(code)
    distributed.destroy_processes()
    return code
