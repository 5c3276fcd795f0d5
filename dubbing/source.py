"""The picture to dub: a video or a still, reduced, turned and cropped as asked, and what is shown where the speech is
longer than the video.

    --extend loop       0 1 2 3 0 1 2 3 0 ...
    --extend pingpong   0 1 2 3 2 1 0 1 2 ...
    --extend hold       0 1 2 3 3 3 3 3 3 ...
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

import planar
from cli import InputError
from face_detection.crop import Rect
from video import IMAGE_SUFFIXES, VideoReader, read_image

EXTENSIONS = ("loop", "pingpong", "hold")
BACKWARD_FRAMES = 24  # held at once while a video is played backwards
TOLERANCE = 1e-6  # seconds


class Moment(NamedTuple):
    """number: of the frame within one play; time: seconds from the start of the output; picture: planar YUV."""

    number: int
    time: float
    picture: av.VideoFrame


@dataclass(frozen=True)
class Shape:
    """What is done to every frame, in this order.

    resize_factor: the sides are divided by it; rotate: a quarter turn clockwise; crop: top, bottom, left, right in
    pixels, -1 for the far edge.
    """

    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)


class Source:
    """rate: frames a second; still: the same picture all along; width, height: of the picture in its shape; reader:
    None for a picture file; pix_fmt: how the file stores pixels. Times count from 0 at the first frame."""

    def __init__(self, path: Path, shape: Shape, static: bool, still_fps: float):
        self.path, self.shape = path, shape
        self.image = read_image(path) if path.suffix.lower() in IMAGE_SUFFIXES else None
        self.reader = None if self.image is not None else VideoReader(path)
        self.rate = self.reader.rate if self.reader else Fraction(still_fps).limit_denominator(1001)
        self.still = static or self.reader is None
        height, width = self.image.shape[:2] if self.reader is None else (self.reader.height, self.reader.width)
        self.scaled = width // shape.resize_factor, height // shape.resize_factor
        self.part = _cropped(shape, *(self.scaled[::-1] if shape.rotate else self.scaled))
        self.width, self.height = self.part.x2 - self.part.x1, self.part.y2 - self.part.y1

    @property
    def pix_fmt(self) -> str:
        return self.reader.pix_fmt if self.reader else "yuv420p"

    def frame_bytes(self, pix_fmt: str) -> int:
        """About what one picture takes in memory."""
        return self.width * self.height * av.VideoFormat(pix_fmt).padded_bits_per_pixel // 8

    def once(self, pix_fmt: str) -> Iterator[Moment]:
        """One play of the video; of a still, its one picture."""
        if self.image is not None:
            yield Moment(0, 0.0, self._shaped(planar.from_bgr(self.image, pix_fmt), pix_fmt))
            return
        for number, (time, picture) in enumerate(self.reader.pictures()):
            yield Moment(number, time - self.reader.start, self._shaped(picture, pix_fmt))
            if self.still:
                return

    def play(self, pix_fmt: str, seconds: float, extend: str = "loop", whole: bool = False) -> Iterator[Moment]:
        """What is shown for `seconds`; with `whole` the video is played to its end even where that is later."""
        times = []
        for moment in self.once(pix_fmt):
            if moment.time > seconds - TOLERANCE and not whole:
                return
            times.append(moment.time)
            yield moment
        for moment in self._more(pix_fmt, times, extend):
            if moment.time > seconds - TOLERANCE:
                return
            yield moment

    def frames_in(self, seconds: float, whole: bool) -> int:
        """About how many frames play() gives, for the progress bar."""
        wanted = ceil(seconds * self.rate)
        return max(wanted, self.reader.frame_estimate or 0) if whole and not self.still else wanted

    def _more(self, pix_fmt: str, times: list[float], extend: str) -> Iterator[Moment]:
        """What follows the first play, without end."""
        last, step = times[-1], 1 / float(self.rate)
        if len(times) == 1 or extend == "hold":
            (held,) = self._between(pix_fmt, times, len(times) - 1, len(times))
            for n in count(1):
                yield Moment(held.number, last + n * step, planar.copied(held.picture))
        for n in count(1):
            if extend == "loop":
                for moment in self.once(pix_fmt):
                    yield moment._replace(time=n * (last + step) + moment.time)
                continue
            for moment in self._backward(pix_fmt, times):
                yield moment._replace(time=2 * n * last - moment.time)
            for moment in self.once(pix_fmt):
                yield moment._replace(time=2 * n * last + moment.time)

    def _backward(self, pix_fmt: str, times: list[float]) -> Iterator[Moment]:
        """All frames but the first and the last, the latest first."""
        for end in range(len(times) - 1, 1, -BACKWARD_FRAMES):
            yield from reversed(self._between(pix_fmt, times, max(1, end - BACKWARD_FRAMES), end))

    def _between(self, pix_fmt: str, times: list[float], first: int, end: int) -> list[Moment]:
        """Frames number `first` to `end` - 1."""
        if self.still:
            return list(self.once(pix_fmt))
        found = self._sought(pix_fmt, times, first, end)
        if [moment.number for moment in found] == list(range(first, end)):
            return found
        return [  # a file in which one cannot seek
            moment._replace(picture=planar.copied(moment.picture)) for moment in islice(self.once(pix_fmt), first, end)
        ]

    def _sought(self, pix_fmt: str, times: list[float], first: int, end: int) -> list[Moment]:
        start, found = self.reader.start, []
        try:
            for time, picture in self.reader.pictures(since=times[first] + start):
                if time - start > times[end - 1] + TOLERANCE:
                    break
                number = int(np.searchsorted(times, time - start - TOLERANCE))
                found.append(Moment(number, time - start, planar.copied(self._shaped(picture, pix_fmt))))
        except av.error.FFmpegError:
            return []
        return found

    def _shaped(self, picture: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
        turns = round(picture.rotation / 90)
        width, height = self.scaled if turns % 2 == 0 else self.scaled[::-1]
        picture = planar.scaled(planar.to_format(picture, pix_fmt), width, height)
        return planar.turned_and_cut(picture, (turns + 3 * self.shape.rotate) % 4, self.part)


def _cropped(shape: Shape, width: int, height: int) -> Rect:
    top, bottom, left, right = shape.crop
    far_right, far_bottom = width if right == -1 else min(right, width), height if bottom == -1 else min(bottom, height)
    if not (0 <= left < far_right and 0 <= top < far_bottom):
        raise InputError(f"--crop {top} {bottom} {left} {right}: nothing is left of a frame of {width}x{height}")
    return Rect(left, top, far_right, far_bottom)
