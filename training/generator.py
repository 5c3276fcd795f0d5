"""Training of the generator, with or without the visual-quality discriminator (Wav2Lip, ACM MM 2020, section 3)."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

import audio
from data.dataset import GeneratorWindows, generator_inputs
from hparams import HParams
from metrics import generator_score
from metrics.experts import Expert
from models import Wav2Lip, Wav2Lip_disc_qual
from training import losses, samples, summary
from training.network import TrainableNetwork
from training.options import GeneratorOptions
from training.trainer import Schedule, Training
from utils import weight_files
from utils.devices import Precision

GAN_BETAS = (0.5, 0.999)
SAMPLES = 8  # windows in the sample grid
SAMPLE_ROWS = ("input", "reference", "generated", "true")


class Discriminator(TrainableNetwork):
    """The visual-quality discriminator: it is trained, and the generator against it."""

    def adversarial_loss(self, generated: torch.Tensor) -> torch.Tensor:
        """The generator's loss; no gradient reaches the discriminator's own weights."""
        frozen = {name: weight.detach() for name, weight in self.network.named_parameters()}
        with self.precision.autocast():
            logits = torch.func.functional_call(self.network, frozen, (generated,), {"logits": True})
        return losses.real_fake_bce(logits, real=True)

    def train_on(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Backward pass on real and generated windows; returns the loss."""
        logits = self(torch.cat((target, generated.detach())), logits=True)  # [T·2B, 1], frame 0 of every window first
        real, fake = logits.reshape(target.shape[2], 2, -1).unbind(dim=1)
        loss = losses.real_fake_bce(real, real=True) + losses.real_fake_bce(fake, real=False)
        self.backward(loss)
        return loss.detach()


class GeneratorTraining(Training):
    """The generator learns to redraw a window from its upper half, another window of the clip and the speech."""

    windows_class = GeneratorWindows
    options: GeneratorOptions

    def __init__(self, options: GeneratorOptions) -> None:
        expert = Expert.load(options.syncnet_checkpoint_path, Precision("fp32", torch.device("cpu")))
        super().__init__(options)
        hp, precision = self.hp, self.precision
        self.expert = expert.to(precision)
        self.expert.network.requires_grad_(False)

        rate, disc_rate = hp.initial_learning_rate, hp.disc_initial_learning_rate
        betas = {"betas": GAN_BETAS} if options.gan else {}
        self.generator = TrainableNetwork(Wav2Lip(hp.width), hp, precision, rate, ema=hp.ema, **betas)
        self.generator.restore(self.content, self.start, self.weights_only)
        self.networks = {"": self.generator}
        self.discriminator = None
        if options.gan:
            path = options.disc_checkpoint_path
            if self.goes_on or (path is None and not self.weights_only):
                path = saved_discriminator(self.start) or path
            if path is None and self.start and not self.weights_only:
                beside = self.start.with_name(f"disc_{self.start.name}")
                print(f"{beside}: not there; the discriminator starts anew", flush=True)
            content = weight_files.read(path) if path else {}
            self.discriminator = Discriminator(Wav2Lip_disc_qual(hp.width), hp, precision, disc_rate, betas=GAN_BETAS)
            self.discriminator.restore(content, path, self.weights_only)
            self.networks["disc_"] = self.discriminator

        self.sync_weight = self.resumed.get("sync_weight", hp.syncnet_wt)
        self.sync_on_weight = hp.sync_on_wt_gan if options.gan else hp.sync_on_wt
        self.adversarial_weight = hp.disc_wt if options.gan else 0.0
        self.scored_clips = generator_score.choose_clips(self.eval_windows.clips)

    @staticmethod
    def make_schedule(hp: HParams) -> Schedule:
        return Schedule(hp.batch_size, hp.eval_interval, hp.checkpoint_interval)

    def state(self) -> dict:
        return {"sync_weight": self.sync_weight}

    def objective(self, scores: dict[str, float]) -> float:
        return self.sync_on_weight * scores["sync"] + (1 - self.sync_on_weight) * scores["l1"]

    def train_on(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        faces, target = generator_inputs(batch)
        generated = self.generator(batch["mels"], faces)
        l1 = F.l1_loss(generated.float(), target)
        sync = adversarial = torch.zeros((), device=self.device)
        values = {"l1": l1.detach()}
        if self.sync_weight:
            sync = self._sync_loss(batch, generated)
            values["sync"] = sync.detach()
        if self.discriminator:
            adversarial = self.discriminator.adversarial_loss(generated)
            values["adversarial"] = adversarial.detach()
        self.generator.backward(losses.generator_loss(l1, sync, adversarial, self.sync_weight, self.adversarial_weight))
        if self.discriminator:
            values["disc"] = self.discriminator.train_on(generated, target)
        return values

    def _sync_loss(self, batch: dict[str, torch.Tensor], generated: torch.Tensor) -> torch.Tensor:
        with self.precision.autocast():
            return losses.sync_loss(self.expert.network, batch["mel"], generated)

    @torch.no_grad()
    def evaluate(
        self, step: int, batches: list[dict[str, torch.Tensor]], tensorboard: SummaryWriter
    ) -> dict[str, float]:
        """L1 and sync loss over the evaluation windows, generator_scores over the clips; shows samples."""
        network = self.generator.best_weights.eval()
        l1, sync, count = 0.0, 0.0, 0
        for batch in batches:
            batch = self.to_device(batch)
            faces, target = generator_inputs(batch)
            with self.precision.autocast():
                generated = network(batch["mels"], faces)
            sync_loss = self._sync_loss(batch, generated)
            if count == 0:
                self._show_windows(step, tensorboard, faces[:, :3], faces[:, 3:], generated, target)
            l1 += float(F.l1_loss(generated.float(), target)) * len(target)
            sync += float(sync_loss) * len(target)
            count += len(target)
        dubber = generator_score.ClipDubber(network, self.hp, self.precision)
        scores, dub = generator_score.generator_scores(dubber, self.expert, self.scored_clips)
        self._show_dub(step, tensorboard, dub)
        return {"l1": l1 / count, "sync": sync / count, **scores}

    def _show_windows(self, step: int, tensorboard: SummaryWriter, *rows: torch.Tensor) -> None:
        """The middle frames of the first windows [B, 3, T, S, S], row by row (SAMPLE_ROWS)."""
        middles = [row[:SAMPLES, :, row.shape[2] // 2] for row in rows]
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
        if not self.sync_weight and scores["sync"] < self.hp.sync_on_below:
            self.sync_weight = self.sync_on_weight

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        return generator_score.footage_scores(self.expert, self.scored_clips)

    def write_summary(self) -> None:
        summary.write(self.folder, self.history, self.footage_scores)


def saved_discriminator(generator: Path | None) -> Path | None:
    """The discriminator checkpoint that was saved with this generator checkpoint, if there is one."""
    if generator is None:
        return None
    path = generator.with_name(f"disc_{generator.name}")
    return path if path.exists() else None
