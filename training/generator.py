"""Training of the generator, with or without a discriminator (Wav2Lip, ACM MM 2020, section 3)."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

import audio
from data.dataset import GeneratorWindows, generator_inputs, window_frames
from hparams import HParams
from media.writer import VideoWriter
from metrics import generators
from metrics.sync import Expert
from models import Wav2Lip, Wav2Lip_disc_qual
from models.discriminators import PatchDiscriminator
from models.torch_backend import array_networks, load_network, to_pictures
from training import GeneratorOptions, checkpoint, history, losses
from training.base import Batch, Training
from training.network import TrainableNetwork
from utils import distributed, images
from utils.cli import command, quoted
from utils.devices import Precision
from utils.images import lower_half
from utils.progress import Progress

SAMPLES = 8  # windows in the sample grid
SAMPLE_ROWS = ("input", "reference", "generated", "true")
BETAS = (0.5, 0.999)
R1_EVERY = 8  # steps
LARGEST_WEIGHT = 1e4
LEAST_MOTION = 0.85  # of the footage's, below which a run says how to amplify it


class GeneratorTraining(Training):
    """The generator learns to redraw a window from its upper half, another window of the clip and the speech."""

    network_name = "generator"
    prefix = ""
    rate_names: tuple[str, ...] = ("initial_learning_rate",)
    windows_class = GeneratorWindows
    options: GeneratorOptions
    expert: Expert

    def __init__(self, options: GeneratorOptions) -> None:
        expert, expert_hp = load_network(options.syncnet_checkpoint_path, "expert")
        super().__init__(options)
        hp, precision = self.hp, self.precision
        self.expert_network = expert.requires_grad_(False)
        self.expert = Expert(array_networks("expert", expert, precision), expert_hp, "expert")

        betas = BETAS if options.gan else (0.9, 0.999)
        self.generator = TrainableNetwork(
            Wav2Lip(hp.width), hp, precision, hp.initial_learning_rate, betas=betas, ema=hp.ema
        )  # fmt: skip
        self.generator.restore(self.content, self.start, self.weights_only)
        self.networks = {"": self.generator}
        self.last_layer = self.generator.network.get_parameter("output_block.1.weight")
        self.discriminator = None
        if options.gan:
            self.rate_names += ("disc_initial_learning_rate",)
            self.networks["disc_"] = self.discriminator = self._open_discriminator()

        self.sync_weight = self.resumed.get("sync_weight", hp.syncnet_wt)
        self.sync_on_weight = hp.sync_on_wt_gan if options.gan else hp.sync_on_wt
        self.mouth_weights = losses.mouth_weights(hp.img_size, hp.mouth_wt).to(self.device)
        self.scored_clips = generators.evenly_spaced(self.eval_windows.clips)

    def _open_discriminator(self) -> "DiscriminatorTrainer":
        """With the weights that are given, or else those beside the generator's. A resumed run keeps its own."""
        path, start = self.options.disc_checkpoint_path, self.start
        saved = checkpoint.beside(start) if start else None
        if saved and saved.exists() and (self.same_folder or (path is None and not self.weights_only)):
            path = saved
        if path is None and saved and not self.weights_only:
            print(f"{saved}: not found; the discriminator starts from random weights", flush=True)
        trainer = TRAINERS[self.hp.disc](self.hp, self.precision)
        trainer.restore(checkpoint.read_checkpoint(path) if path else {}, path, self.weights_only)
        return trainer

    def state(self) -> dict:
        return {"sync_weight": self.sync_weight}

    def objective(self, scores: dict[str, float]) -> float:
        if self.hp.best_by == "mouth":
            start = self.history.entries[0]["scores"] if self.history.entries else scores
            return history.relative_score(scores, start, self.footage_scores)
        return self.sync_on_weight * scores["sync"] + (1 - self.sync_on_weight) * scores["l1"]

    def better(self, start: dict[str, float], scores: dict[str, float]) -> bool:
        """A run from scratch started from random weights, which nothing is compared with."""
        return not self.started_from or super().better(start, scores)

    def train_on(self, step: int, batch: Batch) -> dict[str, Tensor]:
        hp, discriminator = self.hp, self.discriminator
        faces, target = generator_inputs(batch)
        generated = self.generator(batch["mels"], faces)
        picture = losses.picture_loss(generated, target, self.mouth_weights, hp.gradient_wt)
        values = {"l1": F.l1_loss(generated.detach().float(), target), "picture": picture.detach()}
        sync = adversarial = torch.zeros((), device=self.device)
        sync_weight = self.sync_weight if len(batch["mel"]) else 0.0
        if sync_weight:
            sync = self._sync_loss(batch["mel"], generated, target, hp.sync_face_wt)
            values["sync"] = sync.detach()
        if discriminator:
            adversarial = discriminator.generator_loss(generated, target, picture, self.last_layer, step)
            values["adversarial"] = adversarial.detach()
        share = discriminator.picture_share if discriminator else 0.0
        self.generator.backward(losses.generator_loss(picture, sync, sync_weight, adversarial, share))
        if discriminator:
            values["disc"] = discriminator.train_on(generated, target, step)
        return values

    def _sync_loss(self, mel: Tensor, generated: Tensor, target: Tensor, face_weight: float) -> Tensor:
        """Of the windows among the frames."""
        generated, target = (window_frames(frames, len(mel), self.hp.window_frames) for frames in (generated, target))
        with self.precision.autocast():
            return losses.sync_loss(self.expert_network, mel, generated, target, face_weight)

    @torch.no_grad()
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """L1 and sync loss over the evaluation windows, generator_scores over the clips; shows samples."""
        network, hp = self.generator.best_weights.eval(), self.hp
        l1, sync, count = 0.0, 0.0, 0
        shown: tuple[Tensor, ...] = ()
        for batch in Progress(batches, "evaluation: windows", unit="batch", leave=False):
            batch = self.to_device(batch)
            faces, target = generator_inputs(batch)
            with self.precision.autocast():
                generated = network(batch["mels"], faces)
            sync_loss = self._sync_loss(batch["mel"], generated, target, face_weight=0.0)
            shown = shown or (faces[:, :3], faces[:, 3:], generated, target)  # [F, 3, S, S] each
            l1 += float(F.l1_loss(generated.float(), target)) * len(target)
            sync += float(sync_loss) * len(target)
            count += len(target)
        middles = [to_pictures(frames[hp.window_frames // 2 :: hp.window_frames][:SAMPLES]) for frames in shown]
        rows = {label: list(row.cpu().numpy()) for label, row in zip(SAMPLE_ROWS, middles, strict=True)}
        sheet, samples = images.labelled_rows(rows), self.folder / checkpoint.SAMPLES.format(step)
        samples.parent.mkdir(parents=True, exist_ok=True)
        images.write_png(samples.with_suffix(".png"), sheet)
        tensorboard.add_image("samples", sheet[..., ::-1].copy(), step, dataformats="HWC")
        dubber = generators.ClipDubber(network, hp, self.precision)
        clip_scores, dub = generators.generator_scores(dubber, self.expert, self.scored_clips)
        write_clip(samples.with_suffix(".mp4"), dub, hp)
        return {"l1": l1 / count, "sync": sync / count} | clip_scores

    def on_evaluation(self, scores: dict[str, float]) -> None:
        if self.expert_is_useless:
            self.sync_weight = 0.0
        elif not self.sync_weight and scores["sync"] < self.hp.sync_on_below:
            self.sync_weight = self.sync_on_weight

    @cached_property
    def expert_is_useless(self) -> bool:
        """Whether hp.sync_if_known forbids the sync loss, since the expert does not find this footage in sync."""
        return self.hp.sync_if_known and not history.expert_is_reliable(self.footage_scores)

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        if step == 0 and self.expert_is_useless:
            return ["the expert does not find the held-out clips in sync: no sync loss"]
        return super().remarks(step, scores)

    def conclusion(self) -> list[str]:
        best = self.folder / checkpoint.BEST
        to_dub = command(
            "inference.py", checkpoint_path=best, face="talk.mp4", audio="speech.wav", outfile="out.mp4"
        )  # fmt: skip
        lines = [*super().conclusion(), "to dub with the weights:", to_dub]
        motion = self.history.best()["scores"].get("motion", 1.0)
        if motion < LEAST_MOTION:
            lively = quoted(["python", "weights.py", "amplify", str(best), str(self.folder / "lively.safetensors")])
            lines += [f"mouths move {motion:.2f} of the footage's motion; for weights that move them more:", lively]
        return lines


def write_clip(path: Path, dub: generators.ClipDub, hp: HParams) -> None:
    """The faces of a dub with their speech, which is cut to their length."""
    wav = audio.load_wav(dub.speech.folder / "audio.wav", hp.sample_rate)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        audio.save_wav(wav[: len(dub.faces) * hp.sample_rate // hp.fps], sound, hp.sample_rate)
        with VideoWriter(path, Fraction(hp.fps), sound) as writer:
            for number, face in enumerate(dub.faces):
                writer.write(face, number / hp.fps)


class DiscriminatorTrainer(TrainableNetwork, ABC):
    """A discriminator under training, and the loss it gives the generator. Frames are [F, 3, S, S] in 0..1."""

    picture_share = 0.0  # of the picture loss's weight, which the adversarial loss takes

    @abstractmethod
    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        """The weighted adversarial loss, a scalar; no gradient reaches the discriminator's own weights.

        picture: the picture loss; last: the weights of the generator's last convolution.
        """

    @abstractmethod
    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        """Backward pass on real and generated frames; returns the loss."""


class PublishedTrainer(DiscriminatorTrainer):
    """The published discriminator, with the published loss and weight (Wav2Lip, ACM MM 2020, section 3.3)."""

    def __init__(self, hp: HParams, precision: Precision) -> None:
        super().__init__(Wav2Lip_disc_qual(hp.width), hp, precision, hp.disc_initial_learning_rate, betas=BETAS)
        self.picture_share = hp.disc_wt

    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        logits = self.frozen(generated.unsqueeze(2), logits=True)
        return self.hp.disc_wt * losses.real_fake_bce(logits, real=True)

    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        frames = torch.cat((target, generated.detach())).unsqueeze(2)  # [2F, 3, 1, S, S]
        real, fake = self(frames, logits=True).chunk(2)
        loss = losses.real_fake_bce(real, real=True) + losses.real_fake_bce(fake, real=False)
        self.backward(loss)
        return loss.detach()


class PatchTrainer(DiscriminatorTrainer):
    """The patch discriminator. Its loss and feature differences are weighted so that their gradient at the generator's
    last layer is a fixed share of the picture loss's (after VQGAN, arXiv 2012.09841, section 3.1). A gradient penalty
    on real pictures keeps it smooth (R1, arXiv 1801.04406)."""

    def __init__(self, hp: HParams, precision: Precision) -> None:
        single = Precision("fp32", precision.device)  # the penalty's second derivatives
        super().__init__(PatchDiscriminator(), hp, single, hp.disc_initial_learning_rate, betas=BETAS)

    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        if step <= self.hp.disc_alone:
            return torch.zeros((), device=generated.device)
        logits, features = self.frozen(lower_half(generated.float()))
        with torch.no_grad():
            _, true_features = self.frozen(lower_half(target))
        differences = [F.l1_loss(ours, true) for ours, true in zip(features, true_features, strict=True)]
        loss = F.softplus(-logits).mean() + self.hp.disc_features_wt * torch.stack(differences).mean()
        slopes = [torch.autograd.grad(part, last, retain_graph=True)[0] for part in (picture, loss)]
        norms = distributed.mean_of(torch.stack([slope.norm() for slope in slopes]))  # one weight in all processes
        weight = (self.hp.disc_share * norms[0] / (norms[1] + 1e-8)).clamp(max=LARGEST_WEIGHT)
        return weight.detach() * loss

    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        penalised = bool(self.hp.disc_r1) and step % R1_EVERY == 0
        generated = generated.detach().float()
        real = lower_half(target).clone().requires_grad_(penalised)
        logits, _ = self(torch.cat((real, lower_half(generated))))
        of_real, of_fake = logits.chunk(2)
        loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
        total = loss
        if penalised:
            (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
            total = loss + R1_EVERY * self.hp.disc_r1 / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        self.backward(total)
        return loss.detach()


# By hparams disc
TRAINERS: dict[str, Callable[[HParams, Precision], DiscriminatorTrainer]] = {
    "published": PublishedTrainer,
    "patch": PatchTrainer,
}
