"""Train or finetune the generator, with or without the visual-quality discriminator.

    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth \\
        --checkpoint_path checkpoints/wav2lip.pth --reset_optimizer          # finetune the published weights
    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth             # go on where it was
    ... --gan [--disc_checkpoint_path checkpoints/visual_quality_disc.pth]   # sharper mouths
    torchrun --nproc_per_node 4 wav2lip_train.py ...                         # on four GPUs

Writes into the checkpoint folder checkpoint_step<step>.pth (and disc_checkpoint_step<step>.pth), best.pth,
summary.html (is it better than the weights it started from?), samples/step<step>.png with the same windows all along
(rows: input, reference, generated, true), samples/step<step>.mp4, a clip kept aside dubbed with the speech of another,
and logs/ for TensorBoard.
"""

import argparse
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F

import audio
import checkpoint
import cli
import distributed
import losses
import samples
import scoring
import summary
import trainer
from dataset import GeneratorWindows, generator_inputs
from learner import Learner
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual

GAN_BETAS = (0.5, 0.999)
SAMPLES = 8  # windows in the sample grid


class Discriminator(Learner):
    """The discriminator: it learns, and it judges."""

    def judge(self, generated: torch.Tensor) -> torch.Tensor:
        """The generator's adversarial loss; no gradient reaches the discriminator's own weights."""
        frozen = {name: weight.detach() for name, weight in self.network.named_parameters()}
        with self.precision.autocast():
            probability = torch.func.functional_call(self.network, frozen, (generated,))
        return losses.real_fake_bce(probability, real=True)

    def learn(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Backward pass on real and generated windows; returns the loss."""
        probability = self(torch.cat((target, generated.detach())))  # [T·2B, 1], frame 0 of every window first
        real, fake = probability.reshape(target.shape[2], 2, -1).unbind(dim=1)
        loss = losses.real_fake_bce(real, real=True) + losses.real_fake_bce(fake, real=False)
        self.backward(loss)
        return loss.detach()


class GeneratorTraining(trainer.Training):
    def __init__(self, args: argparse.Namespace):
        self.expert = checkpoint.load_network(args.syncnet_checkpoint_path, SyncNet_color)[0].requires_grad_(False)
        super().__init__(args, GeneratorWindows)
        hp, where = self.hp, (self.hp, self.device, self.precision)
        self.expert.to(self.device, memory_format=torch.channels_last)

        betas = {"betas": GAN_BETAS} if args.gan else {}
        self.generator = Learner(Wav2Lip(hp.width), *where, hp.initial_learning_rate, ema=hp.ema, **betas)
        self.generator.restore(self.content, self.start, self.weights_only)
        self.learners = {"": self.generator}
        self.discriminator = None
        if args.gan:
            path = args.disc_checkpoint_path or (None if self.weights_only else partner(self.start))
            content = checkpoint.read(path) if path else {}
            rate = hp.disc_initial_learning_rate
            self.discriminator = Discriminator(Wav2Lip_disc_qual(hp.width), *where, rate, betas=GAN_BETAS)
            self.discriminator.restore(content, path, self.weights_only)
            self.learners["disc_"] = self.discriminator

        self.sync_weight = hp.syncnet_wt if self.weights_only else self.content.get("sync_weight", hp.syncnet_wt)
        self.sync_on_weight = hp.sync_on_wt_gan if args.gan else hp.sync_on_wt
        self.adversarial_weight = hp.disc_wt if args.gan else 0.0
        self.scored = scoring.pick_clips(self.eval_windows.clips)

    def state(self):
        return {"sync_weight": self.sync_weight}

    def objective(self, scores):
        return self.sync_on_weight * scores["sync"] + (1 - self.sync_on_weight) * scores["l1"]

    def forward(self, batch):
        faces, target = generator_inputs(batch)
        generated = self.generator(batch["mels"], faces)
        l1 = F.l1_loss(generated.float(), target)
        sync = adversarial = torch.zeros((), device=self.device)
        report = {"l1": l1.detach()}
        if self.sync_weight:
            with self.precision.autocast():
                sync = losses.sync_loss(self.expert, batch["mel"], generated)
            report["sync"] = sync.detach()
        if self.discriminator:
            adversarial = self.discriminator.judge(generated)
            report["adversarial"] = adversarial.detach()
        self.generator.backward(losses.generator_loss(l1, sync, adversarial, self.sync_weight, self.adversarial_weight))
        if self.discriminator:
            report["disc"] = self.discriminator.learn(generated, target)
        return report

    @torch.no_grad()
    def evaluate(self, step, batches, log):
        """L1 and sync loss over the evaluation windows, the scores of scoring.py over the clips; shows samples."""
        network = self.generator.best_weights.eval()
        l1, sync, count = 0.0, 0.0, 0
        for batch in batches:
            batch = self.to_device(batch)
            faces, target = generator_inputs(batch)
            with self.precision.autocast():
                generated = network(batch["mels"], faces)
                sync_loss = losses.sync_loss(self.expert, batch["mel"], generated)
            if count == 0:
                middle = generated.shape[2] // 2
                rows = (faces[:, :3], faces[:, 3:], generated, target)
                picture = samples.grid([row[:SAMPLES, :, middle] for row in rows])
            l1 += float(F.l1_loss(generated.float(), target)) * len(target)
            sync += float(sync_loss) * len(target)
            count += len(target)
        scores, dub = scoring.score(network, self.expert, self.scored, self.hp, self.precision)
        self.generator.network.train()
        self._show(step, picture, dub, log)
        return {"l1": l1 / count, "sync": sync / count, **scores}

    def _show(self, step, picture, dub, log):
        path = self.folder / "samples" / f"step{step:09d}.png"
        samples.write_png(path, picture)
        samples.show_picture(log, "samples", picture, step)
        samples.show_clip(log, "dubbed", dub.faces, self.hp.fps, step)
        wav = audio.load_wav(dub.voice.folder / "audio.wav", self.hp.sample_rate)
        samples.write_clip(path.with_suffix(".mp4"), dub.faces, self.hp.fps, wav, self.hp.sample_rate)

    def heed(self, scores):
        if not self.sync_weight and scores["sync"] < self.hp.sync_on_below:
            self.sync_weight = self.sync_on_weight

    @cached_property
    def truth(self) -> dict[str, float]:
        return scoring.true_scores(self.expert, self.scored, self.hp, self.precision)

    def conclude(self):
        summary.write(self.folder, self.history, self.truth)


def partner(path: Path | None) -> Path | None:
    """The discriminator checkpoint that was saved with this generator checkpoint, if there is one."""
    if path is None:
        return None
    beside = path.with_name(f"disc_{path.name}")
    if not beside.exists():
        print(f"{beside}: not there; the discriminator starts anew", flush=True)
        return None
    return beside


def main(args: argparse.Namespace) -> None:
    training = GeneratorTraining(args)
    hp = training.hp
    training.fit(hp.batch_size, hp.eval_interval, hp.checkpoint_interval)
    distributed.leave()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_flags(parser)
    parser.add_argument("--syncnet_checkpoint_path", type=Path, required=True, help="the lip-sync expert")
    parser.add_argument("--gan", action="store_true", help="train with the visual-quality discriminator")
    parser.add_argument("--disc_checkpoint_path", type=Path, help="discriminator to start from, with --gan")
    args = parser.parse_args(argv)
    if args.disc_checkpoint_path and not args.gan:
        parser.error("--disc_checkpoint_path: add --gan")
    return args


if __name__ == "__main__":
    cli.run(main, parse_args())
