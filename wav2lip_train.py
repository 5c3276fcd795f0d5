"""Train or finetune the generator, with or without the visual-quality discriminator.

    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth \\
        --checkpoint_path checkpoints/wav2lip.pth --reset_optimizer          # finetune the published weights
    python wav2lip_train.py --data_root preprocessed --checkpoint_dir checkpoints/mine \\
        --syncnet_checkpoint_path checkpoints/lipsync_expert.pth             # resume the run
    ... --gan [--disc_checkpoint_path checkpoints/visual_quality_disc.pth]   # sharper mouths
    torchrun --nproc_per_node 4 wav2lip_train.py ...                         # on four GPUs

Writes into the checkpoint folder: checkpoint_step<step>.pth (and disc_checkpoint_step<step>.pth); best.pth;
summary.html (are the weights better than those the run started from?); samples/step<step>.png, always of the same
windows (rows: input, reference, generated, true); samples/step<step>.mp4, a held-out clip dubbed with the speech of
another clip; logs/ for TensorBoard.
"""

import argparse

from models.published import ensure_weights
from training import GeneratorOptions
from utils import cli
from utils.settings import from_args


def main(args: argparse.Namespace) -> None:
    options = ensure_weights(from_args(GeneratorOptions, args), args.yes)
    from training.generator import GeneratorTraining
    from training.loop import train

    train(GeneratorTraining, options)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, GeneratorOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
