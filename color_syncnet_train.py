"""Train the lip-sync expert.

    python color_syncnet_train.py --data_root preprocessed --checkpoint_dir checkpoints/expert
    python color_syncnet_train.py ...                       # the same again goes on where it was
    torchrun --nproc_per_node 4 color_syncnet_train.py ...  # on four GPUs

Writes checkpoint_step<step>.pth, best.pth and, for TensorBoard, logs/ into the checkpoint folder. A useful expert tells
in-sync from off-sync windows on the evaluation list with a loss well below 0.69, which is what guessing gives.
"""

import argparse

import torch

import cli
import distributed
import losses
import trainer
from dataset import ExpertWindows, expert_inputs
from learner import Learner
from models import SyncNet_color


class ExpertTraining(trainer.Training):
    def __init__(self, args: argparse.Namespace):
        super().__init__(args, ExpertWindows)
        hp = self.hp
        network = SyncNet_color(hp.width)
        self.expert = Learner(network, hp, self.device, self.precision, hp.syncnet_lr, ema=hp.syncnet_ema)
        self.expert.restore(self.content, self.start, self.weights_only)
        self.learners = {"": self.expert}

    def forward(self, batch):
        loss = losses.cosine_bce(*self.expert(*expert_inputs(batch)), batch["in_sync"])
        self.expert.backward(loss)
        return {"loss": loss.detach()}

    @torch.no_grad()
    def evaluate(self, step, batches, log):
        """Loss and share of windows judged rightly, at a cosine of one half, over the evaluation windows."""
        network = self.expert.best_weights.eval()
        loss, right, count = 0.0, 0, 0
        for batch in batches:
            batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
            with self.precision.autocast():
                audio, face = network(*expert_inputs(batch))
            in_sync = batch["in_sync"]
            loss += float(losses.cosine_bce(audio, face, in_sync)) * len(in_sync)
            cosine = (audio.float() * face.float()).sum(dim=1)
            right += int(((cosine > 0.5) == (in_sync > 0.5)).sum())
            count += len(in_sync)
        self.expert.network.train()
        return {"loss": loss / count, "accuracy": right / count}

    def objective(self, scores):
        return scores["loss"]


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
