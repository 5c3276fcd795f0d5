"""Train or finetune the generator, with or without the visual-quality discriminator.

    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth \\
        --checkpoint_path checkpoints/wav2lip.pth --reset_optimizer          # finetune the published weights
    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth \\
        --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth      # go on where it was
    ... --gan [--disc_checkpoint_path checkpoints/visual_quality_disc.pth]   # sharper mouths

Writes checkpoint_step<step>.pth (and disc_checkpoint_step<step>.pth), samples/step<step>.png with the same windows all
along (rows: input, reference, generated, true), and logs/ for TensorBoard.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import checkpoint
import cli
import losses
import trainer
from dataset import (
    GeneratorWindows,
    evaluation_batches,
    generator_inputs,
    open_windows,
    training_batches,
)
from devices import Precision
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual

GAN_BETAS = (0.5, 0.999)
SAMPLES = 8  # windows in the sample grid


class Discriminator:
    """The discriminator with its optimizer: it learns, and it judges."""

    def __init__(self, hp, device, precision: Precision, path: Path | None, reset: bool):
        content = checkpoint.read(path) if path else {}
        self.network = Wav2Lip_disc_qual(hp.width).to(device, memory_format=torch.channels_last)
        self.precision = precision
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=hp.disc_initial_learning_rate, betas=GAN_BETAS)
        trainer.restore(content, self.network, self.optimizer, path, reset)

    def judge(self, generated: torch.Tensor) -> torch.Tensor:
        """The generator's adversarial loss; no gradient reaches the discriminator's own weights."""
        self.network.requires_grad_(False)
        with self.precision.autocast():
            probability = self.network(generated)
        self.network.requires_grad_(True)
        return losses.real_fake_bce(probability, real=True)

    def learn(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with self.precision.autocast():
            on_real, on_fake = self.network(target), self.network(generated.detach())
        loss = losses.real_fake_bce(on_real, real=True) + losses.real_fake_bce(on_fake, real=False)
        self.precision.step(loss, self.optimizer)
        return loss.detach()


def load_expert(path: Path, device: torch.device) -> SyncNet_color:
    """The frozen judge: no gradients to its weights, batch norms in eval mode."""
    expert, _ = checkpoint.load_network(path, SyncNet_color)
    return expert.requires_grad_(False).to(device, memory_format=torch.channels_last)


@torch.no_grad()
def evaluate(generator, expert, batches, device, precision, grid: Path) -> dict[str, float]:
    """L1 and sync loss over the evaluation windows; also draws the sample grid from the first of them."""
    generator.eval()
    l1, sync, count = 0.0, 0.0, 0
    for batch in batches:
        batch = trainer.to_device(batch, device)
        faces, target = generator_inputs(batch)
        with precision.autocast():
            generated = generator(batch["mels"], faces)
            sync_loss = losses.sync_loss(expert, batch["mel"], generated)
        generated = generated.float()
        if count == 0:
            middle = generated.shape[2] // 2
            rows = (faces[:, :3], faces[:, 3:], generated, target)
            trainer.write_grid(grid, [row[:SAMPLES, :, middle] for row in rows])
        l1 += float(F.l1_loss(generated, target)) * len(target)
        sync += float(sync_loss) * len(target)
        count += len(target)
    generator.train()
    return {"l1": l1 / count, "sync": sync / count}


def main(args: argparse.Namespace) -> None:
    content, hp, device, precision = trainer.set_up(args)
    expert = load_expert(args.syncnet_checkpoint_path, device)
    windows, eval_windows = open_windows(GeneratorWindows, args.data_root, args.filelists_dir, hp)

    generator = Wav2Lip(hp.width).to(device, memory_format=torch.channels_last)
    betas = {"betas": GAN_BETAS} if args.gan else {}
    optimizer = torch.optim.Adam(generator.parameters(), lr=hp.initial_learning_rate, **betas)
    first = trainer.restore(content, generator, optimizer, args.checkpoint_path, args.reset_optimizer)
    discriminator = None
    if args.gan:
        disc_path = args.disc_checkpoint_path or (None if args.reset_optimizer else partner(args.checkpoint_path))
        discriminator = Discriminator(hp, device, precision, disc_path, args.reset_optimizer)
    sync_weight = hp.syncnet_wt if args.reset_optimizer else content.get("sync_weight", hp.syncnet_wt)
    adversarial_weight = hp.disc_wt if args.gan else 0.0

    size = hp.batch_size
    plan = trainer.schedule(first, len(windows), size, hp.eval_interval, hp.checkpoint_interval, args.max_steps, hp)
    print(f"generator of width {hp.width:g} on {device} in {precision.name}, from step {first}", flush=True)
    held_back = evaluation_batches(eval_windows, size)

    def train_step(batch):
        batch = trainer.to_device(batch, device)
        faces, target = generator_inputs(batch)
        with precision.autocast():
            generated = generator(batch["mels"], faces)
            sync = losses.sync_loss(expert, batch["mel"], generated) if sync_weight else torch.zeros((), device=device)
        l1 = F.l1_loss(generated.float(), target)
        adversarial = discriminator.judge(generated) if discriminator else torch.zeros((), device=device)
        loss = losses.generator_loss(l1, sync, adversarial, sync_weight, adversarial_weight)
        precision.step(loss, optimizer)
        report = {"l1": l1.detach()}
        if sync_weight:
            report["sync"] = sync.detach()
        if discriminator:
            report |= {"adversarial": adversarial.detach(), "disc": discriminator.learn(generated, target)}
        return report

    def evaluate_at(step):
        nonlocal sync_weight
        grid = args.checkpoint_dir / "samples" / f"step{step:09d}.png"
        scores = evaluate(generator, expert, held_back, device, precision, grid)
        if not sync_weight and scores["sync"] < hp.sync_on_below:
            sync_weight = hp.sync_on_wt_gan if args.gan else hp.sync_on_wt
        return {**scores, "sync_weight": sync_weight}

    def save_at(step):
        name = f"checkpoint_step{step:09d}.pth"
        count = len(windows)
        if discriminator:  # first, so that a generator checkpoint never lacks its partner
            path = args.checkpoint_dir / f"disc_{name}"
            trainer.save(path, discriminator.network, discriminator.optimizer, step, count, size, hp)
        trainer.save(args.checkpoint_dir / name, generator, optimizer, step, count, size, hp, sync_weight=sync_weight)

    generator.train()
    trainer.fit(
        plan,
        args.checkpoint_dir,
        training_batches(windows, size, hp.seed, first),
        train_step,
        evaluate_at,
        save_at,
    )


def partner(path: Path | None) -> Path | None:
    """The discriminator checkpoint that was saved with this generator checkpoint, if there is one."""
    if path is None:
        return None
    beside = path.with_name(f"disc_{path.name}")
    if not beside.exists():
        print(f"{beside}: not there; the discriminator starts anew", flush=True)
        return None
    return beside


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
