"""A quick look at an upload, in a process of its own, since what is read may be anything. Prints JSON.

python -m web.look about FILE            # kind, length, size
python -m web.look faces FILE --start 2 --picture first.png
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from utils import cli
from utils.errors import InputError


def about(path: Path) -> dict[str, Any]:
    """What is in a file. Raises InputError where it is neither a picture nor a video nor sound."""
    from media.clock import picture_stream, read_clock, sound_track
    from media.opening import open_media
    from media.reader import open_still

    if still := open_still(path):
        height, width = still.picture.height, still.picture.width
        return {"kind": "picture", "seconds": None, "width": width, "height": height, "has_sound": False}
    with open_media(path) as container:
        video, sound = picture_stream(container), sound_track(container)
        if video is None and sound is None:
            raise InputError(f"{path}: holds neither pictures nor sound")
        size = (video.width, video.height) if video else (None, None)
        clock = read_clock(container, sound)
    seconds = max((span.end for span in (clock.picture, clock.sound) if span), default=0.0)
    kind = "video" if video else "sound"
    return {
        "kind": kind, "seconds": round(seconds, 2), "width": size[0], "height": size[1], "has_sound": sound is not None
    }  # fmt: skip


def faces(path: Path, start: float, picture: Path) -> dict[str, Any]:
    """The faces in the frame at `start` seconds, from the left: x1, y1, x2, y2 in pixels. The frame is written."""
    from dubbing.faces import FaceFinder
    from dubbing.options import Options
    from dubbing.samples import sample_faces
    from dubbing.source import Source
    from media import yuv
    from utils.images import write_png

    samples = sample_faces(FaceFinder(Source(path, Options(device="cpu", start=start)), 0.0, "cpu"), [0.0])
    image = yuv.to_bgr(samples.frames[0].picture)
    write_png(picture, image)
    boxes = sorted([round(float(value), 1) for value in box[:4]] for box in samples.detections.faces[0])
    return {"width": image.shape[1], "height": image.shape[0], "faces": boxes}


def main(args: argparse.Namespace) -> None:
    found = about(args.file) if args.what == "about" else faces(args.file, args.start, args.picture)
    print(json.dumps(found), file=sys.stdout, flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser_for(__doc__)
    parser.add_argument("what", choices=("about", "faces"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--picture", type=Path, default=Path("first.png"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
