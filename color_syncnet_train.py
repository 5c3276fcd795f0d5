"""Train the lip-sync expert.

    python color_syncnet_train.py --data_root preprocessed --checkpoint_dir checkpoints/expert
    python color_syncnet_train.py ...                       # the same again goes on where it was
    torchrun --nproc_per_node 4 color_syncnet_train.py ...  # on four GPUs

Writes checkpoint_step<step>.pth, best.pth and, for TensorBoard, logs/ into the checkpoint folder. A useful expert tells
in-sync from off-sync windows on the evaluation list with a loss well below 0.69, which is what guessing gives.
"""

import argparse
import json
from pathlib import Path

import torch

import cli
import distributed
import losses
import trainer
from dataset import ExpertWindows, expert_inputs
from learner import Learner
from models import SyncNet_color

PLATEAU_STEPS = 1000
PLATEAU_LOSS = 0.68  # guessing gives ln 2 = 0.693
LITTLE_FOOTAGE = 20  # minutes


class ExpertTraining(trainer.Training):
    def __init__(self, args: argparse.Namespace):
        super().__init__(args, ExpertWindows)
        hp = self.hp
        network = SyncNet_color(hp.width)
        self.expert = Learner(network, hp, self.device, self.precision, hp.syncnet_lr, ema=hp.syncnet_ema)
        self.expert.restore(self.content, self.start, self.weights_only)
        self.learners = {"": self.expert}

    def forward(self, batch):
        audio, face = self.expert(*expert_inputs(batch))
        if self.hp.syncnet_all_pairs:
            loss = losses.all_pairs_bce(audio, face)
        else:
            loss = losses.cosine_bce(audio, face, batch["in_sync"])
        self.expert.backward(loss)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def evaluate(self, step, batches, log):
        """Loss and share of windows judged rightly, at a cosine of one half, over the evaluation windows."""
        network = self.expert.best_weights.eval()
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
        self.expert.network.train()
        if step >= PLATEAU_STEPS and loss / count > PLATEAU_LOSS:
            self.bar.write(explain_plateau(self.args.data_root / "report.json"))
        return {"loss": loss / count, "accuracy": right / count}

    def objective(self, scores):
        return scores["loss"]


def explain_plateau(report: Path) -> str:
    """Why the expert may be guessing still, by what preprocessing found in the data."""
    guess = f"the expert still guesses (loss above {PLATEAU_LOSS}): "
    if not report.exists():
        return guess + f"{report} is not there; run `python dataset.py` to see what the data is like"
    content = json.loads(report.read_text(encoding="utf-8"))
    total, clips = content["total"], [clip for clip in content["clips"] if clip["usable"]]
    reasons = []
    if total["usable_minutes"] < LITTLE_FOOTAGE:
        reasons.append(f"{total['usable_minutes']} minutes are little footage: it takes {LITTLE_FOOTAGE} and more")
    unmeasured = sum(clip.get("offset") is None for clip in clips)
    if unmeasured:
        reasons.append(
            f"the sound's offset of {unmeasured} of {len(clips)} clips was never measured: run `python dataset.py` "
            "with the published expert"
        )
    remarked = sum(clip["verdict"] != "ok" for clip in clips)
    if remarked:
        reasons.append(f"{remarked} of {len(clips)} clips have remarks in {report.with_suffix('.html')}")
    return guess + ("; ".join(reasons) or "the data looks right; it may take 2,000 steps more, or a larger batch")


def main(args: argparse.Namespace) -> None:
    training = ExpertTraining(args)
    hp = training.hp
    training.fit(hp.syncnet_batch_size, hp.syncnet_eval_interval, hp.syncnet_checkpoint_interval)
    distributed.leave()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
