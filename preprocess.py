"""Make raw videos into training data: face crops at 25 fps, sound at 16 kHz, file lists, and a report.

    python preprocess.py --data_root my_videos --preprocessed_root preprocessed
    python preprocess.py --data_root my_videos --preprocessed_root preprocessed --ngpu 2 --face_detector sfd
    python preprocess.py --report_only --preprocessed_root preprocessed    # also for folders of the published code
    torchrun --nproc_per_node 2 preprocess.py --data_root my_videos --preprocessed_root preprocessed

--data_root may be any tree of videos. The folder that holds a video is its group; each video becomes

    preprocessed/<group>/<clip>/0.jpg, 1.jpg, ...   the face in every frame that has one, 25 a second
                                audio.wav           16 kHz mono, from the time of frame 0 to the end of the last frame
                                clip.json           source, settings and measurements

A finished clip is made again only if its video or the settings change. Look at preprocessed/report.html before you
train. Under torchrun the processes share the videos, on one machine or on several with a shared folder. Exit code 0:
every video became a clip; 1: some were skipped (the report says why); 2: nothing usable.
"""

import argparse

from models.published import ensure_weights
from preprocessing import PreprocessingOptions
from utils import cli
from utils.settings import from_args


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(PreprocessingOptions, args), args.yes)
    from preprocessing.run import preprocess

    return preprocess(options)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, PreprocessingOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
