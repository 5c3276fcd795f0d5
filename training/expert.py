"""Training of the lip-sync expert (Wav2Lip, ACM MM 2020, section 3.1)."""

from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from data.dataset import ExpertClips, ExpertWindows, expert_inputs
from models import SyncNet_color
from training import TrainingOptions, losses
from training.base import Batch, Training
from training.network import TrainableNetwork
from utils.files import read_json

PLATEAU_STEPS = 1000
PLATEAU_LOSS = 0.68  # guessing gives ln 2 = 0.693
LITTLE_FOOTAGE = 20  # minutes


class ExpertTraining(Training):
    """The expert learns to tell windows with their own sound from windows with the sound of another moment."""

    network_name = "lip-sync expert"
    prefix = "syncnet_"
    rate_names = ("syncnet_lr",)
    windows_class = ExpertWindows

    def __init__(self, options: TrainingOptions) -> None:
        super().__init__(options)
        hp = self.hp
        self.syncnet = TrainableNetwork(
            SyncNet_color(hp.width), hp, self.precision, hp.syncnet_lr, ema=hp.syncnet_ema,
            weight_decay=hp.syncnet_weight_decay,
        )  # fmt: skip
        self.syncnet.restore(self.content, self.start, self.weights_only)
        self.networks = {"": self.syncnet}

    def training_windows_class(self) -> type[ExpertWindows]:
        return {"random": ExpertWindows, "clip": ExpertClips}[self.hp.syncnet_pairs]

    def train_on(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
        hp = self.hp
        audio, face = self.syncnet(*expert_inputs(batch))
        if hp.syncnet_pairs == "clip":
            loss = losses.clip_pairs_loss(audio, face, hp.syncnet_clip_windows, hp.syncnet_softmax_wt)
        else:
            loss = losses.cosine_bce(audio, face, batch["in_sync"])
        self.syncnet.backward(loss)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """Loss, and the share of windows classified correctly at a cosine of one half."""
        network = self.syncnet.best_weights.eval()
        loss, right, count = 0.0, 0, 0
        for batch in batches:
            batch = self.to_device(batch)
            with self.precision.autocast():
                audio, face = network(*expert_inputs(batch))
            in_sync = batch["in_sync"]
            loss += float(losses.cosine_bce(audio, face, in_sync)) * len(in_sync)
            cosine = (audio.float() * face.float()).sum(dim=1)
            right += int(((cosine > 0.5) == (in_sync > 0.5)).sum())
            count += len(in_sync)
        return {"loss": loss / count, "accuracy": right / count}

    def objective(self, scores: dict[str, float]) -> float:
        return scores["loss"]

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        guesses = step >= PLATEAU_STEPS and scores["loss"] > PLATEAU_LOSS
        return [explain_plateau(self.options.data_root / "report.json")] if guesses else []


def explain_plateau(report: Path) -> str:
    """Why the expert may still be guessing: what the data report says."""
    text, command = f"the expert still guesses (loss above {PLATEAU_LOSS})", "python preprocess.py --report_only"
    if not report.exists():
        return f"{text}: run `{command}` for a report on the data"
    content = read_json(report, f"run `{command}`")
    minutes = content["total"]["usable_minutes"]
    unmeasured = sum(clip["usable"] and clip.get("offset") is None for clip in content["clips"])
    if minutes < LITTLE_FOOTAGE:
        text += f"; {minutes} minutes of footage are little, {LITTLE_FOOTAGE} are needed"
    if unmeasured:
        text += f"; run `{command}` to measure the sound offset of {unmeasured} clips"
    return f"{text}; see {report.with_suffix('.html')}"
