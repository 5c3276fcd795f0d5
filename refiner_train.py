"""Train the refiner of one person on five or more videos of that person: sharp mouths at the footage's resolution.

    python refiner_train.py --data_root preprocessed --checkpoint_dir checkpoints/anna --max_minutes 40
    ... --generator_path checkpoints/mine/best.pth      # the generator whose faces are refined
    ... --checkpoint_path checkpoints/bert/person.safetensors --reset_optimizer   # start from another refiner
    ... --bank clip                                     # a refiner of any person, from clips of many people
    python inference.py --refine checkpoints/anna/person.safetensors ...        # dub with it

Writes into the checkpoint folder: person.safetensors (the best refiner, with sharp reference pictures of the person);
checkpoint_step<step>.pth; best.pth; summary.html (is it better than enlarging?); samples/step<step>.png (rows:
enlarged, nearest reference, refined, true); logs/ for TensorBoard. The same command resumes the run.
"""

import argparse

from models.published import ensure_weights
from training import RefinerOptions
from utils import cli
from utils.settings import from_args


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(RefinerOptions, args), args.yes)
    from training.loop import train
    from training.refiner import RefinerTraining

    return train(RefinerTraining, options)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, RefinerOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
