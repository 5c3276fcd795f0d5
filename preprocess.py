"""Raw videos -> face crops at 25 fps, sound at 16 kHz, file lists, and a report.

    python preprocess.py --data_root my_videos --preprocessed_root preprocessed
    python preprocess.py --data_root my_videos --preprocessed_root preprocessed --ngpu 2 --face_detector sfd
    python preprocess.py --report_only --preprocessed_root preprocessed    # also for folders of the published code
    torchrun --nproc_per_node 2 preprocess.py --data_root my_videos --preprocessed_root preprocessed

Any tree of videos will do. The folder a video lies in is its group; each becomes

    preprocessed/<group>/<clip>/0.jpg, 1.jpg, ...   the face in every frame that has one, 25 a second
                                audio.wav           16 kHz mono, from the time of frame 0 to the end of the last
                                clip.json           where it came from and what was found

A clip that is finished is not done again unless its video or the settings have changed. Exit code 0: all videos were
made into clips; 1: some were skipped (the report says why); 2: nothing usable. Look at preprocessed/report.html before
training. Under torchrun the videos are shared among the processes, on one machine or on several with a shared folder.
"""

import argparse

from models.download import ensure_weights
from preprocessing.options import PreprocessingOptions
from utils import cli
from utils.options import from_args


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(PreprocessingOptions, args), args.yes)
    from preprocessing.run import preprocess

    return preprocess(options)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, PreprocessingOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
