"""Which files of a folder are videos: what is called as videos are, and of other names what holds moving pictures."""

from collections.abc import Iterable
from pathlib import Path

import av

from media.choices import NO_VIDEO_SUFFIXES, VIDEO_SUFFIXES
from media.clock import picture_stream
from media.reader import open_media
from utils.errors import InputError

PICTURES = ("_pipe", "image2", "gif", "apng", "ico", "tty")  # ends of FFmpeg's names for pictures, and drawn text
NAMED = 5  # files that a line lists by name


def is_video(path: Path) -> bool:
    """Hidden files, such as the ._x.mp4 that macOS leaves on other disks, are none."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix in NO_VIDEO_SUFFIXES or not path.is_file():
        return False
    return suffix in VIDEO_SUFFIXES or _holds_video(path)


def videos_among(paths: Iterable[Path], tell: bool = True) -> list[Path]:
    """Those that are videos, sorted; tell: print a line that names files of unknown kind, which are passed over."""
    videos, others = list[Path](), list[Path]()
    for path in sorted(paths):
        if is_video(path):
            videos.append(path)
        elif not path.name.startswith(".") and path.suffix.lower() not in NO_VIDEO_SUFFIXES and path.is_file():
            others.append(path)
    if others and tell:
        rest = [f"{len(others) - NAMED} more"] if len(others) > NAMED else []
        print(f"passed over, no videos: {', '.join([*(path.name for path in others[:NAMED]), *rest])}", flush=True)
    return videos


def _holds_video(path: Path) -> bool:
    try:
        with open_media(path) as container:
            stream = picture_stream(container)
            return stream is not None and bool(stream.width) and not container.format.name.endswith(PICTURES)
    except (InputError, OSError, av.error.FFmpegError):
        return False
