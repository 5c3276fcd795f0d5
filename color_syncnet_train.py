"""Train the lip-sync expert.

    python color_syncnet_train.py --data_root preprocessed --checkpoint_dir checkpoints/expert
    python color_syncnet_train.py ...                       # the same command resumes the run
    torchrun --nproc_per_node 4 color_syncnet_train.py ...  # on four GPUs

Writes checkpoint_step<step>.pth, best.pth and, for TensorBoard, logs/ into the checkpoint folder. A useful expert tells
in-sync from off-sync windows of the evaluation list with a loss well below 0.69, the loss of guessing.
"""

import argparse

from models.published import ensure_weights
from training import TrainingOptions
from utils import cli
from utils.settings import from_args


def main(args: argparse.Namespace) -> None:
    options = ensure_weights(from_args(TrainingOptions, args), args.yes)
    from training.expert import ExpertTraining
    from training.loop import train

    train(ExpertTraining, options)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, TrainingOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
