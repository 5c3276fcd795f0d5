"""What a training is: its data, networks and scores. training/trainer.py runs it."""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch.utils.tensorboard import SummaryWriter

from data.dataset import Windows
from data.loading import open_windows
from hparams import HParams
from models.checkpoint import hparams_of
from training import run_directory
from training.network import TrainableNetwork
from training.options import TrainingOptions
from training.run_directory import History, starting_point
from training.schedule import Clock, Schedule
from utils import distributed, memory
from utils.devices import Precision, pick_device


class Training(ABC):
    """One training, ready to run. A subclass says what is trained and how.

    network_name: of the network under training, in words; rate_names: the hparams with its learning rates; networks:
    those under training by the prefix of their checkpoints' names, "" for the one that is evaluated; to be filled by
    the subclass.
    """

    network_name: str
    rate_names: tuple[str, ...]
    windows_class: type[Windows]

    def __init__(self, options: TrainingOptions) -> None:
        """Open data, device and the checkpoint to start from. What is wrong with them raises InputError."""
        self.options, self.folder = options, options.checkpoint_dir
        self.device = pick_device(distributed.init_processes(options.device))
        self.record = {"network": self.network_name, **self.record_of_run()}
        run_directory.check(self.folder, self.record)
        self.record |= {"data_root": str(options.data_root), "filelists_dir": str(options.filelists_dir)}
        self.start, self.weights_only = starting_point(options)
        self.content = run_directory.read_checkpoint(self.start) if self.start else {}
        self.resumed = {} if self.weights_only else self.content  # what a run that goes on takes over
        self.hp = self.make_hparams()
        torch.manual_seed(self.hp.seed)
        torch.set_flush_denormal(True)  # near-zero activations would slow a CPU down to a quarter
        torch.backends.cudnn.benchmark = True
        if self.device.type == "cpu":
            memory.keep_freed_memory()
        self.precision = Precision(options.precision, self.device)
        self.windows, self.eval_windows = open_windows(
            self.training_windows_class(), self.windows_class, options.data_root, options.filelists_dir, self.hp
        )
        self.networks: dict[str, TrainableNetwork] = {}
        self.schedule = self.make_schedule(self.hp)
        self.goes_on = self.start is not None and self.start.resolve().parent == self.folder.resolve()
        lost = self.goes_on and not run_directory.check_best(self.folder)
        self.history = History(self.resumed, self.objective, self.better, self.goes_on, lost)
        self.started_from = self.resumed.get("started_from", "") if self.resumed else str(self.start or "")

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

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        """Scores of the real footage that others are compared with; those of the main process in all of them."""
        return {}

    def seconds_of_evaluation(self, batches: list[dict[str, torch.Tensor]]) -> float:
        """How long `evaluate` takes, by trial; 0 where it takes no time worth speaking of."""
        return 0.0

    def evaluate_share(self, share: float) -> None:
        """From now on so much of what `evaluate` looks at besides its batches is enough."""
        return None

    @abstractmethod
    def objective(self, scores: dict[str, float]) -> float:
        """The number that the best weights have least of."""

    def better(self, start: dict[str, float], scores: dict[str, float]) -> bool:
        """Whether weights with these scores may be called better than those that the run started from."""
        return True

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

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    @property
    def first_step(self) -> int:
        """The step of the checkpoint that the run goes on from."""
        return self.resumed.get("global_step", 0)

    @property
    def last_step(self) -> int:
        end = self.hp.nepochs * len(self.windows) // self.schedule.step_size
        return min(self.hp.max_steps or end, end)

    def clock(self) -> Clock:
        """The run's clock, from where it has come to."""
        spent = self.resumed.get("seconds", 0.0), self.resumed.get("evaluation_seconds", ())
        return Clock(self.last_step, self.options.max_minutes, *spent)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.limit_reached()) and not self.cut_off()

    def cut_off(self) -> bool:
        """Whether a stop has cut off the evaluation that the checkpoint is due."""
        evaluated = [entry["step"] for entry in self.history.entries]
        due = self.schedule.evaluates(self.first_step) or bool(self.limit_reached())
        return bool(evaluated) and self.first_step not in evaluated and due

    def limit_reached(self) -> str:
        """What ends the run at the checkpoint that it goes on from, "" where nothing does."""
        if self.first_step >= self.last_step:
            name = "--max_steps" if self.last_step == self.hp.max_steps else "nepochs"
            return f"{name} at step {self.last_step}"
        over = self.clock().progress(self.first_step) >= 1
        return f"--max_minutes at {self.options.max_minutes:g}" if over else ""
