"""Training of the generator, with or without the visual-quality discriminator (Wav2Lip, ACM MM 2020, section 3)."""

from collections.abc import Iterable
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

import audio
from data.clip import Clip
from data.dataset import GeneratorWindows, generator_inputs, window_frames
from hparams import HParams
from metrics import generator_score
from metrics.experts import Expert
from models import Wav2Lip
from training import adversaries, losses, samples, summary, verdict
from training.base import Training
from training.network import TrainableNetwork
from training.options import GeneratorOptions
from training.run_directory import BEST
from training.schedule import Schedule, seconds_of
from utils.cli import command
from utils.devices import Precision
from utils.progress import Progress

SAMPLES = 8  # windows in the sample grid
SAMPLE_ROWS = ("input", "reference", "generated", "true")


class GeneratorTraining(Training):
    """The generator learns to redraw a window from its upper half, another window of the clip and the speech."""

    network_name = "generator"
    rate_names: tuple[str, ...] = ("initial_learning_rate",)
    windows_class = GeneratorWindows
    options: GeneratorOptions

    def __init__(self, options: GeneratorOptions) -> None:
        expert = Expert.load(options.syncnet_checkpoint_path, Precision("fp32", torch.device("cpu")))
        super().__init__(options)
        hp, precision = self.hp, self.precision
        self.expert = expert.to(precision)
        self.expert.network.requires_grad_(False)

        betas = adversaries.BETAS if options.gan else (0.9, 0.999)
        self.generator = TrainableNetwork(
            Wav2Lip(hp.width), hp, precision, hp.initial_learning_rate, betas=betas, ema=hp.ema
        )  # fmt: skip
        self.generator.restore(self.content, self.start, self.weights_only)
        self.networks = {"": self.generator}
        self.last_layer = self.generator.network.get_parameter("output_block.1.weight")
        self.adversary = None
        if options.gan:
            self.rate_names += ("disc_initial_learning_rate",)
            self.adversary = adversaries.open_adversary(
                hp, precision, self.start, options.disc_checkpoint_path, self.goes_on, self.weights_only
            )
            self.networks["disc_"] = self.adversary

        self.sync_weight = self.resumed.get("sync_weight", hp.syncnet_wt)
        self.sync_on_weight = hp.sync_on_wt_gan if options.gan else hp.sync_on_wt
        self.mouth_weights = losses.mouth_weights(hp.img_size, hp.mouth_wt).to(self.device)
        self.scored_clips = generator_score.evenly_spaced(self.eval_windows.clips)

    @staticmethod
    def make_schedule(hp: HParams) -> Schedule:
        return Schedule(hp.batch_size, hp.eval_interval, hp.checkpoint_interval, hp.eval_early)

    def state(self) -> dict:
        return {"sync_weight": self.sync_weight}

    def objective(self, scores: dict[str, float]) -> float:
        if self.hp.best_by == "mouth":
            start = self.history.entries[0]["scores"] if self.history.entries else scores
            return verdict.relative_score(scores, start, self.footage_scores)
        return self.sync_on_weight * scores["sync"] + (1 - self.sync_on_weight) * scores["l1"]

    def better(self, start: dict[str, float], scores: dict[str, float]) -> bool:
        """A run from scratch started from noise, which is nothing to compare with."""
        return not self.started_from or verdict.compare_scores(start, scores, self.footage_scores)[0]

    def train_on(self, step: int, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        faces, target = generator_inputs(batch)
        generated = self.generator(batch["mels"], faces)
        picture = losses.picture_loss(generated, target, self.mouth_weights, self.hp.gradient_wt)
        values = {"l1": F.l1_loss(generated.detach().float(), target), "picture": picture.detach()}
        sync = adversarial = torch.zeros((), device=self.device)
        sync_weight = self.sync_weight if len(batch["mel"]) else 0.0
        if sync_weight:
            sync = self._sync_loss(batch["mel"], generated, target, self.hp.sync_face_wt)
            values["sync"] = sync.detach()
        if self.adversary:
            adversarial = self.adversary.generator_term(generated, target, picture, self.last_layer, step)
            values["adversarial"] = adversarial.detach()
        share = self.adversary.picture_share if self.adversary else 0.0
        self.generator.backward(losses.generator_loss(picture, sync, sync_weight, adversarial, share))
        if self.adversary:
            values["disc"] = self.adversary.train_on(generated, target, step)
        return values

    def _sync_loss(
        self, mel: torch.Tensor, generated: torch.Tensor, target: torch.Tensor, face_weight: float
    ) -> torch.Tensor:
        """Of the windows among the frames."""
        generated, target = (window_frames(frames, len(mel), self.hp.window_frames) for frames in (generated, target))
        with self.precision.autocast():
            return losses.sync_loss(self.expert.network, mel, generated, target, face_weight)

    @torch.no_grad()
    def evaluate(
        self, step: int, batches: list[dict[str, torch.Tensor]], tensorboard: SummaryWriter
    ) -> dict[str, float]:
        """L1 and sync loss over the evaluation windows, generator_scores over the clips; shows samples."""
        likeness, frames = self._evaluate_windows(Progress(batches, "evaluation: windows", unit="batch", leave=False))
        self._show_frames(step, tensorboard, *frames)
        scores, dub = self._score_clips(self.scored_clips)
        self._show_dub(step, tensorboard, dub)
        return likeness | scores

    @torch.no_grad()
    def seconds_of_evaluation(self, batches: list[dict[str, torch.Tensor]]) -> float:
        """From the first batch and the first clip."""
        self._evaluate_windows(batches[:1])  # the first time anything runs it takes longer
        batch = seconds_of(lambda: self._evaluate_windows(batches[:1]))
        clip = seconds_of(lambda: self._score_clips(self.scored_clips[:1]))
        return batch * len(batches) + clip * len(self.scored_clips)

    def evaluate_share(self, share: float) -> None:
        self.scored_clips = generator_score.evenly_spaced(self.scored_clips, ceil(share * len(self.scored_clips)))

    def _evaluate_windows(
        self, batches: Iterable[dict[str, torch.Tensor]]
    ) -> tuple[dict[str, float], tuple[torch.Tensor, ...]]:
        """L1 and sync loss, and the frames [F, 3, S, S] of the first batch: input, reference, generated, true."""
        network = self.generator.best_weights.eval()
        l1, sync, count = 0.0, 0.0, 0
        shown: tuple[torch.Tensor, ...] = ()
        for batch in batches:
            batch = self.to_device(batch)
            faces, target = generator_inputs(batch)
            with self.precision.autocast():
                generated = network(batch["mels"], faces)
            sync_loss = self._sync_loss(batch["mel"], generated, target, face_weight=0.0)
            shown = shown or (faces[:, :3], faces[:, 3:], generated, target)
            l1 += float(F.l1_loss(generated.float(), target)) * len(target)
            sync += float(sync_loss) * len(target)
            count += len(target)
        return {"l1": l1 / count, "sync": sync / count}, shown

    def _score_clips(self, clips: list[Clip]) -> tuple[dict[str, float], generator_score.ClipDub]:
        dubber = generator_score.ClipDubber(self.generator.best_weights.eval(), self.hp, self.precision)
        return generator_score.generator_scores(dubber, self.expert, clips)

    def _show_frames(self, step: int, tensorboard: SummaryWriter, *rows: torch.Tensor) -> None:
        """The middle frames of the first windows, of frames [F, 3, S, S], row by row (SAMPLE_ROWS)."""
        T = self.hp.window_frames
        middles = [row[T // 2 :: T][:SAMPLES] for row in rows]
        picture = samples.grid(dict(zip(SAMPLE_ROWS, middles, strict=True)))
        samples.write_png(self._sample_path(step), picture)
        samples.show_picture(tensorboard, "samples", picture, step)

    def _show_dub(self, step: int, tensorboard: SummaryWriter, dub: generator_score.ClipDub) -> None:
        hp, faces = self.hp, np.asarray(dub.faces)
        samples.show_clip(tensorboard, "dubbed", faces, hp.fps, step)
        wav = audio.load_wav(dub.speech.folder / "audio.wav", hp.sample_rate)
        samples.write_clip(self._sample_path(step).with_suffix(".mp4"), faces, hp.fps, wav, hp.sample_rate)

    def _sample_path(self, step: int) -> Path:
        return self.folder / "samples" / f"step{step:09d}.png"

    def on_evaluation(self, scores: dict[str, float]) -> None:
        if self.knows_nothing:
            self.sync_weight = 0.0
        elif not self.sync_weight and scores["sync"] < self.hp.sync_on_below:
            self.sync_weight = self.sync_on_weight

    @cached_property
    def knows_nothing(self) -> bool:
        """Whether the expert cannot teach lip-sync on this footage, where that is asked for."""
        return self.hp.sync_if_known and not verdict.knows_footage(self.footage_scores)

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        if step:
            return verdict.remarks(self.history.entries, self.footage_scores)
        return ["the expert does not find the clips kept aside in sync: no sync loss"] if self.knows_nothing else []

    def conclusion(self) -> list[str]:
        best, lists = self.folder / BEST, self.options.filelists_dir
        return [
            *summary.conclusion(self.folder, self.history, self.footage_scores, "mp4"),
            "to dub with them:",
            command("inference.py", checkpoint_path=best, face="talk.mp4", audio="speech.wav", outfile="out.mp4"),
            "for mouths as sharp as the footage:",
            command(
                "refiner_train.py", data_root=self.options.data_root, filelists_dir=lists, generator_path=best,
                checkpoint_dir=self.folder / "refiner", max_minutes=40,
            ),
        ]  # fmt: skip

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        return generator_score.footage_scores(self.expert, self.scored_clips)

    def write_summary(self) -> None:
        summary.write(self.folder, self.history, self.footage_scores)
