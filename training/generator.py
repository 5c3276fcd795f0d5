"""Training of the generator, with or without the visual-quality discriminator (Wav2Lip, ACM MM 2020, section 3)."""

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

import audio
from data.dataset import GeneratorWindows, generator_inputs, window_frames
from metrics import generators
from metrics.experts import Expert
from models import Wav2Lip
from models.torch_backend import array_networks, load_network
from training import discriminators, history, log, losses
from training.base import Batch, Training
from training.checkpoint import BEST
from training.network import TrainableNetwork
from training.options import GeneratorOptions
from utils.cli import command
from utils.progress import Progress

SAMPLES = 8  # windows in the sample grid
SAMPLE_ROWS = ("input", "reference", "generated", "true")


class GeneratorTraining(Training):
    """The generator learns to redraw a window from its upper half, another window of the clip and the speech."""

    network_name = "generator"
    prefix = ""
    rate_names: tuple[str, ...] = ("initial_learning_rate",)
    windows_class = GeneratorWindows
    sample_suffix = ".mp4"
    options: GeneratorOptions
    expert: Expert

    def __init__(self, options: GeneratorOptions) -> None:
        expert, expert_hp = load_network(options.syncnet_checkpoint_path, "expert")
        super().__init__(options)
        hp, precision = self.hp, self.precision
        self.expert_network = expert.requires_grad_(False)
        self.expert = Expert(array_networks("expert", expert, precision), expert_hp, "expert")

        betas = discriminators.BETAS if options.gan else (0.9, 0.999)
        self.generator = TrainableNetwork(
            Wav2Lip(hp.width), hp, precision, hp.initial_learning_rate, betas=betas, ema=hp.ema
        )  # fmt: skip
        self.generator.restore(self.content, self.start, self.weights_only)
        self.networks = {"": self.generator}
        self.last_layer = self.generator.network.get_parameter("output_block.1.weight")
        self.discriminator = None
        if options.gan:
            self.rate_names += ("disc_initial_learning_rate",)
            self.discriminator = discriminators.open_discriminator(
                hp, precision, self.start, options.disc_checkpoint_path, self.same_folder, self.weights_only
            )
            self.networks["disc_"] = self.discriminator

        self.sync_weight = self.resumed.get("sync_weight", hp.syncnet_wt)
        self.sync_on_weight = hp.sync_on_wt_gan if options.gan else hp.sync_on_wt
        self.mouth_weights = losses.mouth_weights(hp.img_size, hp.mouth_wt).to(self.device)
        self.scored_clips = generators.evenly_spaced(self.eval_windows.clips)

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

    def train_on(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
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

    def _sync_loss(
        self, mel: torch.Tensor, generated: torch.Tensor, target: torch.Tensor, face_weight: float
    ) -> torch.Tensor:
        """Of the windows among the frames."""
        generated, target = (window_frames(frames, len(mel), self.hp.window_frames) for frames in (generated, target))
        with self.precision.autocast():
            return losses.sync_loss(self.expert_network, mel, generated, target, face_weight)

    @torch.no_grad()
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """L1 and sync loss over the evaluation windows, generator_scores over the clips; shows samples."""
        network, hp = self.generator.best_weights.eval(), self.hp
        l1, sync, count = 0.0, 0.0, 0
        shown: tuple[torch.Tensor, ...] = ()
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
        middles = [frames[hp.window_frames // 2 :: hp.window_frames][:SAMPLES] for frames in shown]
        log.show_samples(self.folder, step, dict(zip(SAMPLE_ROWS, middles, strict=True)), tensorboard)

        dubber = generators.ClipDubber(network, hp, self.precision)
        clip_scores, dub = generators.generator_scores(dubber, self.expert, self.scored_clips)
        wav = audio.load_wav(dub.speech.folder / "audio.wav", hp.sample_rate)
        log.write_clip(log.sample_path(self.folder, step, ".mp4"), np.asarray(dub.faces), hp.fps, wav, hp.sample_rate)
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
        best, options = self.folder / BEST, self.options
        return [
            *super().conclusion(),
            "to dub with the weights:",
            command("inference.py", checkpoint_path=best, face="talk.mp4", audio="speech.wav", outfile="out.mp4"),
            "for mouths as sharp as the footage:",
            command(
                "refiner_train.py", data_root=options.data_root, filelists_dir=options.filelists_dir,
                generator_path=best, checkpoint_dir=self.folder / "refiner", max_minutes=40,
            ),
        ]  # fmt: skip
