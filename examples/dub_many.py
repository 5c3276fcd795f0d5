"""Dub every video of a folder with one recording of speech, from whatever folder this is run in.

    python /path/to/this/checkout/examples/dub_many.py videos speech.wav dubbed

A program of your own starts in the same way: with the checkout's path, then the imports.
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent  # in a program that lies elsewhere: the path itself
sys.path.insert(0, str(CHECKOUT))

from dubbing import Dubber, Options


def dub_many(videos: Path, speech: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    dubber = Dubber(Options(pads=(0, 15, 0, 0)))  # loads the networks, once; settings are named like the flags
    for video in sorted(videos.iterdir()):
        try:
            record = dubber.dub(video, speech, out / f"{video.stem}.mp4")
        except Exception as error:  # an InputError names the file and says what is wrong with it
            print(f"skipped: {error}")
            continue
        print(f"{record.outfile}: {record.dubbed} of {record.frames} frames dubbed")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    dub_many(*map(Path, sys.argv[1:]))
