"""What a training is: its data, networks and scores. training/loop.py runs it."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from data.clip import Clip
from data.dataset import Windows
from data.loading import open_windows
from metrics import generators
from metrics.sync import Expert
from models.torch_backend import hparams_of
from training import TrainingOptions, checkpoint, history
from training.network import TrainableNetwork
from utils import distributed, process
from utils.devices import Precision, pick_device

Batch = dict[str, torch.Tensor]


class Training(ABC):
    """One training, ready to run. A subclass says what is trained and how, and fills `networks`."""

    network_name: str  # of the network under training, for messages and run.json
    prefix: str  # of the hparams batch_size, eval_interval and checkpoint_interval of this training
    rate_names: tuple[str, ...]  # the hparams with its learning rates
    windows_class: type[Windows]  # what is evaluated on
    expert: Expert | None = None  # that scores dubs of held-out clips (scored_clips)

    def __init__(self, options: TrainingOptions) -> None:
        """Open data, device and the checkpoint to start from. Raises InputError where one of them cannot be used."""
        self.options, self.folder = options, options.checkpoint_dir
        self.device = pick_device(distributed.init_processes(options.device))
        checkpoint.check_folder(self.folder, self.network_name)
        self.record = {
            "network": self.network_name, "data_root": str(options.data_root),
            "filelists_dir": str(options.filelists_dir),
        }  # fmt: skip
        self.start, self.weights_only = checkpoint.starting_point(options)
        self.content = checkpoint.read_checkpoint(self.start) if self.start else {}
        self.resumed = {} if self.weights_only else self.content  # what a resumed run takes over
        self.first_step = self.resumed.get("global_step", 0)
        self.hp = hparams_of(self.content, options.hparams_overrides, of_network=self.weights_only)
        torch.manual_seed(self.hp.seed)
        torch.set_flush_denormal(True)  # near-zero activations would slow a CPU down to a quarter
        torch.backends.cudnn.benchmark = True
        if self.device.type == "cpu":
            process.disable_malloc_trim()
        self.precision = Precision(options.precision, self.device)
        self.windows, self.eval_windows = open_windows(
            self.training_windows_class(), self.windows_class, options.data_root, options.filelists_dir, self.hp
        )
        self.scored_clips: list[Clip] = []
        self.networks: dict[str, TrainableNetwork] = {}  # by prefix of their files, "" for the one that is evaluated
        self.same_folder = self.start is not None and self.start.resolve().parent == self.folder.resolve()
        best_exists = not self.same_folder or checkpoint.has_best(self.folder)
        if self.start and not self.same_folder:
            self.record[checkpoint.STARTED_FROM] = str(self.start.resolve())
        self.history = history.History(self.resumed, self, best_exists)
        self.started_from = self.resumed.get("started_from", "") if self.resumed else str(self.start or "")

    def training_windows_class(self) -> type[Windows]:
        return self.windows_class

    def setting(self, name: str) -> Any:
        """The value of batch_size, eval_interval or checkpoint_interval for this training."""
        return getattr(self.hp, f"{self.prefix}{name}")

    @property
    def batch_size(self) -> int:
        """Windows in one step, over all processes."""
        return self.setting("batch_size")

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is planned after this step."""
        interval = self.setting("eval_interval")
        early = {interval // part for part in (2, 4, 8)} if self.hp.eval_early else set()
        return step % interval == 0 or step in early

    @property
    def last_step(self) -> int:
        end = self.hp.nepochs * len(self.windows) // self.batch_size
        return min(self.hp.max_steps or end, end)

    def to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    @abstractmethod
    def train_on(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and backward passes of one batch; returns its losses."""

    @abstractmethod
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """Scores of the network on the evaluation batches; only the main process calls it."""

    @abstractmethod
    def objective(self, scores: dict[str, float]) -> float:
        """The value to minimise when choosing the best checkpoint."""

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        """The expert's scores of the real footage (training/history.py), {} without an expert. The loop sets them in
        the other processes to those of the main one."""
        return generators.footage_scores(self.expert, self.scored_clips) if self.expert else {}

    def better(self, start: dict[str, float], scores: dict[str, float]) -> bool:
        """Whether these scores beat those of the weights that the run started from."""
        return not self.expert or history.compare_scores(start, scores, self.footage_scores)[0]

    def on_evaluation(self, scores: dict[str, float]) -> None:
        """Called in every process with the scores of an evaluation."""
        return None

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        """Lines for the user about an evaluation."""
        return self.history.remarks(self.footage_scores) if self.expert else []

    def state(self) -> dict:
        """What the run's checkpoints hold besides the networks."""
        return {}

    def conclusion(self) -> list[str]:
        """Lines for the user at the end of a run: the files that matter, and the commands that use them."""
        best, path = self.history.best()["step"], self.folder / checkpoint.BEST
        lines = [f"{path}: the weights of step {best}, the best of {len(self.history.entries)} evaluations"]
        if not path.exists():
            lines = [f"{path} was not written: no evaluation was better than those before the run was resumed"]
        elif best == 0:
            lines = [f"{path}: the weights that the run started from, since no evaluation was better"]
        if self.expert:
            lines.append(f"{self.folder / history.PAGE}: {self.history.verdict(self.footage_scores)[1]}")
            lines.append(f"{(self.folder / checkpoint.SAMPLES).parent}: faces of held-out clips at each evaluation")
        return lines
