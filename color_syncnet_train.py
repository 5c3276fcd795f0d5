"""Train the lip-sync expert.

    python color_syncnet_train.py --data_root preprocessed --checkpoint_dir checkpoints/expert
    python color_syncnet_train.py --data_root preprocessed --checkpoint_dir checkpoints/expert \\
        --checkpoint_path checkpoints/expert/checkpoint_step000010000.pth --hparams syncnet_batch_size=32

Writes checkpoint_step<step>.pth and, for TensorBoard, logs/ into the checkpoint folder. A useful expert tells in-sync
from off-sync windows on the evaluation list with a loss well below 0.69, which is what guessing gives.
"""

import argparse

import torch

import cli
import losses
import trainer
from dataset import (
    ExpertWindows,
    evaluation_batches,
    expert_inputs,
    open_windows,
    training_batches,
)
from models import SyncNet_color


@torch.no_grad()
def evaluate(expert, batches, device, precision) -> dict[str, float]:
    """Loss and share of windows judged rightly, at a cosine of one half, over the evaluation windows."""
    expert.eval()
    loss, right, count = 0.0, 0, 0
    for batch in batches:
        batch = trainer.to_device(batch, device)
        with precision.autocast():
            audio, face = expert(*expert_inputs(batch))
        in_sync = batch["in_sync"]
        loss += float(losses.cosine_bce(audio, face, in_sync)) * len(in_sync)
        cosine = (audio.float() * face.float()).sum(dim=1)
        right += int(((cosine > 0.5) == (in_sync > 0.5)).sum())
        count += len(in_sync)
    expert.train()
    return {"loss": loss / count, "accuracy": right / count}


def main(args: argparse.Namespace) -> None:
    content, hp, device, precision = trainer.set_up(args)
    windows, eval_windows = open_windows(ExpertWindows, args.data_root, args.filelists_dir, hp)

    expert = SyncNet_color(hp.width).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(expert.parameters(), lr=hp.syncnet_lr)
    first = trainer.restore(content, expert, optimizer, args.checkpoint_path, args.reset_optimizer)
    size = hp.syncnet_batch_size
    plan = trainer.schedule(
        first, len(windows), size, hp.syncnet_eval_interval, hp.syncnet_checkpoint_interval, args.max_steps, hp
    )
    print(f"expert of width {hp.width:g} on {device} in {precision.name}, from step {first}", flush=True)
    held_back = evaluation_batches(eval_windows, size)

    def train_step(batch):
        batch = trainer.to_device(batch, device)
        with precision.autocast():
            audio, face = expert(*expert_inputs(batch))
        loss = losses.cosine_bce(audio, face, batch["in_sync"])
        precision.step(loss, optimizer)
        return {"loss": loss.detach()}

    def save_at(step):
        path = args.checkpoint_dir / f"checkpoint_step{step:09d}.pth"
        trainer.save(path, expert, optimizer, step, len(windows), size, hp)

    expert.train()
    trainer.fit(
        plan,
        args.checkpoint_dir,
        training_batches(windows, size, hp.seed, first),
        train_step,
        lambda step: evaluate(expert, held_back, device, precision),
        save_at,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
