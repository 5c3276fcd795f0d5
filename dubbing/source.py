"""The frames to dub: of a video or a picture, scaled, turned and cropped as asked. How they are played for speech that
is longer is in play.py."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, takewhile
from math import ceil, inf
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from media import yuv
from media.clock import END_HELD, LONGEST_STEP
from media.files import add_notice
from media.pictures import Still, open_still
from media.reader import EARLIER, VideoReader
from utils.errors import InputError
from utils.images import Rect

TOLERANCE = 1e-6  # seconds
FEW_FRAMES = 600  # are decoded one after the other as fast as a dozen of them are sought
PICTURE_FPS = 25.0
SMALLEST_SIDE = 96  # pixels of a frame that --resize_factor may leave
WRONG_RATE = 1.5  # frames that come so much more slowly than the file says show that it is wrong


class TimedFrame(NamedTuple):
    """number: of the frame within one play, the same where one is repeated; time: seconds from the start of the output;
    picture: planar YUV."""

    number: int
    time: float
    picture: av.VideoFrame


@dataclass(frozen=True)
class FrameTransform:
    """What is done to every frame, in this order.

    deinterlace, video_stream: as of a VideoReader; background: red, green, blue behind what is transparent, where the
    result cannot be; picture_size: most pixels of a still picture's longer side, 0 for as many as it has;
    resize_factor: the sides are divided by it; rotate: a quarter turn clockwise; crop: top, bottom, left, right in
    pixels, -1 for the far edge.
    """

    deinterlace: str = "frame"
    video_stream: int | None = None
    background: tuple[int, int, int] = (0, 0, 0)
    picture_size: int = 0
    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)


class Source:
    """rate: frames a second that are shown; still: the same picture all along; width, height: of a transformed frame;
    opened: the file; reader, clock: None for a still picture. Times count from the file's zero, where the first frame
    is shown already.

    fps: frames a second of a picture, and of a video with fewer; None: as many as the video has. start, end: seconds of
    the video between which it is used, as if there were no more of it; part: the same, start being where the frame
    begins that is shown then, None for the whole video; length: seconds of that part, infinite without an end.
    """

    def __init__(
        self,
        path: Path,
        transform: FrameTransform,
        static: bool,
        fps: float | None,
        start: float = 0.0,
        end: float | None = None,
    ) -> None:
        self.path, self.transform = path, transform
        self.opened: Still | VideoReader = open_still(path) or VideoReader(
            path, deinterlace=transform.deinterlace, video_stream=transform.video_stream
        )
        self.reader = self.opened if isinstance(self.opened, VideoReader) else None
        self.part = self._part(start, end) if start or end is not None else None
        self.length = self.part[1] - self.part[0] if self.part and end is not None else inf
        self.clock = self.reader.clock.filled(fps) if self.reader else None
        if self.clock and self.part:
            self.clock = self.clock.within(*self.part)
        is_still = self.reader is None or self.reader.frame_estimate == 1
        self.rate = Fraction(fps or PICTURE_FPS).limit_denominator(1001)
        if self.reader and self.clock and not is_still and not (fps and self.clock.slow):
            self.rate = self.reader.rate
        self.still = static or is_still
        width, height = self.opened.width, self.opened.height
        if is_still and 0 < transform.picture_size < max(width, height):
            shrink = Fraction(transform.picture_size, max(width, height))
            width, height = round(width * shrink), round(height * shrink)
            add_notice(self.opened.findings, f"scaled to {width}x{height}")
        self.scaled = width // transform.resize_factor, height // transform.resize_factor
        if transform.resize_factor > 1 and min(self.scaled) < SMALLEST_SIDE:
            raise InputError(
                f"--resize_factor {transform.resize_factor}: leaves {self.scaled[0]}x{self.scaled[1]} pixels, too few "
                f"to show a face; give at most {max(1, min(width, height) // SMALLEST_SIDE)}"
            )
        self.cropped = _cropped(transform.crop, *(self.scaled[::-1] if transform.rotate else self.scaled))
        self.width, self.height = self.cropped.width, self.cropped.height

    def _part(self, start: float, end: float | None) -> tuple[float, float]:
        if self.reader is None or self.reader.clock.picture is None:
            raise InputError(f"--start, --end: are for videos; {self.path} is a picture")
        zero, last = self.reader.clock.zero, self.reader.clock.picture.end
        for flag, given, most in (("--start", start, last - TOLERANCE), ("--end", end or 0.0, last + END_HELD)):
            if given > most:
                raise InputError(f"{flag} {given:g}: {self.path} lasts {last:.2f} s; give less")
        shown = next(self._pictures_from(zero + start))[0] - zero
        return shown if start - LONGEST_STEP < shown < start else start, min(end or last, last)

    def step_after(self, last: float) -> float:
        """Seconds that the last frame of a play is shown, which begins at `last`."""
        if self.still or self.reader is None or self.clock is None:
            return 1 / float(self.rate)
        step = 1 / float(self.reader.rate)
        step = step if self.clock.step < WRONG_RATE * step else self.clock.step
        left = self.length - last  # of a part: a frame that stays for long is cut off, or goes on, to its end
        return step if left == inf or left < step <= LONGEST_STEP else left

    @property
    def findings(self) -> list[str]:
        """What was found in the file and changed, in short phrases."""
        return [*self.opened.findings, *(self.clock.findings if self.clock else [])]

    @property
    def pix_fmt(self) -> str:
        return self.opened.pix_fmt

    def frame_bytes(self, pix_fmt: str) -> int:
        """About what one picture takes in memory."""
        return self.width * self.height * av.VideoFormat(pix_fmt).padded_bits_per_pixel // 8

    def once(self, pix_fmt: str) -> Iterator[TimedFrame]:
        """One play of the video; of a still, its one picture. Nothing is repeated but that the first starts at 0."""
        frames = self.decoded(pix_fmt)
        yield next(frames)._replace(time=0.0)
        yield from frames

    def decoded(self, pix_fmt: str) -> Iterator[TimedFrame]:
        """One play, every frame at its own time."""
        if isinstance(self.opened, Still):
            yield TimedFrame(0, 0.0, self._transformed(self.opened.picture, pix_fmt))
            return
        assert self.reader is not None and self.clock is not None
        zero = self.clock.zero
        pictures = self._pictures_from(zero) if self.part else self.reader.pictures()
        for number, (stamp, picture) in enumerate(pictures):
            time = max(0.0, stamp - zero) if self.part else stamp - zero
            if number and time > self.length - TOLERANCE:
                return
            yield TimedFrame(number, time, self._transformed(picture, pix_fmt))
            if self.still:
                return

    def _pictures_from(self, since: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Those of the reader from the one on that is shown at `since`, found by seeking where the file allows it."""
        assert self.reader is not None
        found = self.reader.pictures(since)
        try:
            first = next(found, None)
        except av.error.FFmpegError:
            first = None
        if first is None or first[0] > max(since, self.reader.start) + EARLIER:
            yield from self.reader.pictures(since, seek=False)
            return
        yield first
        yield from found

    def within(self, pix_fmt: str, seconds: float) -> Iterator[TimedFrame]:
        """What of one play is shown in that time."""
        return takewhile(lambda frame: frame.time <= seconds - TOLERANCE, self.once(pix_fmt))

    def ending(self, extend: str, seconds: float) -> str:
        """How a video goes on for speech of that length that outlasts it: as asked, but not for a moment."""
        return "hold" if self.clock and self.clock.holds_end(seconds) else extend

    def frames_in(self, seconds: float, whole: bool) -> int:
        """About how many frames play() gives, for the progress bar."""
        return ceil(self.shown_seconds(seconds, whole) * self.rate)

    def shown_seconds(self, seconds: float, whole: bool) -> float:
        """How long play() goes on."""
        if self.clock and self.clock.picture and whole and not self.still:
            return max(seconds, self.clock.picture.end)
        return seconds

    def frames_once(self, seconds: float) -> int:
        """About how many frames of one play are shown within `seconds`, for the progress bar."""
        if self.still or self.reader is None:
            return 1
        wanted = ceil(min(seconds, self.length) * self.reader.rate)
        return min(wanted, self.reader.frame_estimate or wanted)

    def between(self, pix_fmt: str, times: list[float], first: int, end: int) -> list[TimedFrame]:
        """Frames number `first` to `end` - 1."""
        if self.still:
            return list(self.once(pix_fmt))
        found = self._sought(pix_fmt, times, first, end)
        if [frame.number for frame in found] == list(range(first, end)):
            return found
        frames = islice(self.once(pix_fmt), first, end)  # a file in which one cannot seek
        return [frame._replace(picture=yuv.copied(frame.picture)) for frame in frames]

    def _sought(self, pix_fmt: str, times: list[float], first: int, end: int) -> list[TimedFrame]:
        assert self.reader is not None and self.clock is not None
        zero, found = self.clock.zero, []
        try:
            for time, picture in self.reader.pictures(since=times[first] + zero):
                if time - zero > times[end - 1] + TOLERANCE:
                    break
                number = int(np.searchsorted(times, time - zero - TOLERANCE))
                found.append(TimedFrame(number, time - zero, yuv.copied(self._transformed(picture, pix_fmt))))
        except av.error.FFmpegError:
            return []
        return found

    def glimpses(self, pix_fmt: str, times: Sequence[float], slack: float = 0.0) -> list[TimedFrame]:
        """The frames shown at these ascending times, numbered from 0; late in a long video they are sought, and may be
        others up to `slack` seconds earlier where these take less decoding. Times behind the end give none."""
        if self.still or self.reader is None or self.clock is None:
            return list(self.once(pix_fmt)) if times else []
        if not times or times[-1] * self.reader.rate < FEW_FRAMES:
            return self._passing(pix_fmt, times)
        frames = []
        try:
            for time in times:
                since, entry = (max(0.0, at) + self.clock.zero for at in (time - slack, time))
                with closing(self.reader.pictures(since, entry=entry)) as found:
                    for stamp, picture in islice(found, 1):
                        frames.append((stamp - self.clock.zero, yuv.copied(self._transformed(picture, pix_fmt))))
        except av.error.FFmpegError:  # a file in which one cannot seek
            return self._passing(pix_fmt, times)
        return [TimedFrame(number, max(0.0, time), picture) for number, (time, picture) in enumerate(frames)]

    def _passing(self, pix_fmt: str, times: Sequence[float]) -> list[TimedFrame]:
        """As glimpses, from decoding the video up to the last of these times."""
        wanted, found, half = deque(times), list[TimedFrame](), 0.5 / float(self.rate)
        for frame in self.once(pix_fmt):
            if not wanted:
                break
            if frame.time >= wanted[0] - half:
                while wanted and frame.time >= wanted[0] - half:
                    wanted.popleft()
                found.append(frame._replace(number=len(found), picture=yuv.copied(frame.picture)))
        return found

    def _transformed(self, picture: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
        if not yuv.has_alpha(pix_fmt):
            flat = yuv.over(picture, self.transform.background)
            add_notice(self.opened.findings, *(["alpha composited"] if flat is not picture else []))
            picture = flat
        picture = yuv.scaled(yuv.to_format(picture, pix_fmt), *self.scaled)
        return yuv.turned_and_cut(picture, 3 * self.transform.rotate, self.cropped)


def _cropped(crop: tuple[int, int, int, int], width: int, height: int) -> Rect:
    top, bottom, left, right = crop
    far_right, far_bottom = width if right == -1 else min(right, width), height if bottom == -1 else min(bottom, height)
    if not (0 <= left < far_right and 0 <= top < far_bottom):
        raise InputError(f"--crop {top} {bottom} {left} {right}: nothing is left of a frame of {width}x{height}")
    return Rect(left, top, far_right, far_bottom)
