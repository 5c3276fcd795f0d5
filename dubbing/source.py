"""The frames to dub: of a video or a picture, scaled, rotated and cropped as asked, extended for longer speech.

    --extend loop       0 1 2 3 0 1 2 3 0 ...
    --extend pingpong   0 1 2 3 2 1 0 1 2 ...
    --extend hold       0 1 2 3 3 3 3 3 3 ...

Speech that is longer by less than half a second holds the last frame, whatever is asked.
"""

import gc
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, count, islice
from math import ceil, inf
from pathlib import Path
from typing import NamedTuple

import av

from dubbing.options import SOURCE_FPS, Options
from media import codecs, yuv
from media.clock import END_HELD, LONGEST_STEP
from media.opening import add_notice
from media.reader import Still, VideoReader, open_still
from utils.errors import InputError
from utils.images import Rect

TOLERANCE = 1e-6  # seconds
FEW_FRAMES = 600  # decoding so many in order is as fast as seeking a dozen of them
BACKWARD_FRAMES = 24  # held at once while a video is played backwards
PICTURE_FPS = 25.0
SMALLEST_SIDE = 96  # pixels of a frame that --resize_factor may leave
WRONG_RATE = 1.5  # the rate that a file states is wrong where its frames are so many times slower


class TimedFrame(NamedTuple):
    number: int  # within one pass of the video, the same where a frame is repeated
    time: float  # seconds from the start of the output
    picture: av.VideoFrame  # planar YUV


class Source:
    """A video or a picture, as the options of a dub want its frames. Times are seconds from the file's zero, or from
    the start of the part in use; the first frame is shown from 0 on. suffix: of the file to write."""

    def __init__(self, path: Path, options: Options, suffix: str = ".mp4") -> None:
        self.path, self.options = path, options
        self.opened: Still | VideoReader = open_still(path) or VideoReader(
            path, deinterlace=options.deinterlace, video_stream=options.video_stream
        )
        self.reader = self.opened if isinstance(self.opened, VideoReader) else None  # None for a picture
        # of the file to write; frames have its pixel format already
        self.encoding = codecs.choose(options.codec, suffix, self.opened.pix_fmt, options.crf, options.preset)
        start, end, fps = options.start, options.end, None if options.fps == SOURCE_FPS else float(options.fps)
        # seconds: the start, moved to where the frame begins that is shown then, and the end; None for a whole video
        self.part = self._part(start, end) if start or end is not None else None
        self.length = self.part[1] - self.part[0] if self.part and end is not None else inf  # of the part, in seconds
        self.clock = self.opened.clock.filled(fps if self.reader else None)
        if self.part:
            self.clock = self.clock.within(*self.part)
        is_still = self.opened.frame_estimate == 1
        own_rate = not is_still and not (fps and self.clock.slow)
        self.rate = self.opened.rate if own_rate else Fraction(fps or PICTURE_FPS).limit_denominator(1001)  # as shown
        self.still = options.static or is_still  # one picture is shown all along
        self.plays_whole = options.keep_length and not options.preview and not self.still  # after the speech
        width, height = self.opened.width, self.opened.height
        if is_still and 0 < options.picture_size < max(width, height):
            shrink = Fraction(options.picture_size, max(width, height))
            width, height = round(width * shrink), round(height * shrink)
            add_notice(self.opened.findings, f"scaled to {width}x{height}")
        self.scaled = width // options.resize_factor, height // options.resize_factor
        if options.resize_factor > 1 and min(self.scaled) < SMALLEST_SIDE:
            raise InputError(
                f"--resize_factor {options.resize_factor}: leaves {self.scaled[0]}x{self.scaled[1]} pixels, too few "
                f"to show a face; give at most {max(1, min(width, height) // SMALLEST_SIDE)}"
            )
        self.cropped = _cropped(options.crop, *(self.scaled[::-1] if options.rotate else self.scaled))
        self.width, self.height = self.cropped.width, self.cropped.height

    def _part(self, start: float, end: float | None) -> tuple[float, float]:
        if self.opened.clock.picture is None:
            raise InputError(f"--start, --end: are for videos; {self.path} is a picture")
        zero, last = self.opened.clock.zero, self.opened.clock.picture.end
        for flag, given, most in (("--start", start, last - TOLERANCE), ("--end", end or 0.0, last + END_HELD)):
            if given > most:
                raise InputError(f"{flag} {given:g}: {self.path} lasts {last:.2f} s; give less")
        shown = next(self.opened.pictures(zero + start))[0] - zero
        return shown if start - LONGEST_STEP < shown < start else start, min(end or last, last)

    @property
    def findings(self) -> list[str]:
        """What was found in the file and changed, in short phrases."""
        return [*self.opened.findings, *self.clock.findings]

    @property
    def play_seconds(self) -> float:
        """Of one play of the video; infinite for a picture."""
        return self.clock.picture.end if self.clock.picture and not self.still else inf

    def frame_bytes(self) -> int:
        """About what one picture takes in memory."""
        return self.width * self.height * av.VideoFormat(self.encoding.pix_fmt).padded_bits_per_pixel // 8

    def extension(self, seconds: float) -> str:
        """What extends the video for speech of that length: --extend, but "hold" where only a moment is missing."""
        return "hold" if self.clock.holds_end(seconds) else self.options.extend

    def shown_seconds(self, seconds: float) -> float:
        """How long extend_frames() continues."""
        return max(seconds, self.clock.picture.end) if self.clock.picture and self.plays_whole else seconds

    def frames_in(self, seconds: float) -> int:
        """About how many frames extend_frames() gives."""
        return ceil(self.shown_seconds(seconds) * self.rate)

    def frames_once(self, seconds: float) -> int:
        """About how many frames iter_once() gives within `seconds`."""
        if self.still:
            return 1
        wanted = ceil(min(seconds, self.length) * self.opened.rate)
        return min(wanted, self.opened.frame_estimate or wanted)

    def extend_frames(self, seconds: float, extend: str = "loop") -> Iterator[TimedFrame]:
        """What is shown for `seconds`, with --keep_length at least to the end of the video; frames that stay for long
        are repeated (media/clock.py)."""
        times: list[float] = []

        def first_pass() -> Iterator[TimedFrame]:
            for frame in self.iter_once():
                times.append(frame.time)
                yield frame

        for frame in self._fill_gaps(first_pass()):
            if frame.time > seconds - TOLERANCE and not self.plays_whole:
                return
            yield frame
        for frame in self._fill_gaps(self._repeat(times, extend)):
            if frame.time > seconds - TOLERANCE:
                return
            yield frame

    def _fill_gaps(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """The frames, each as often as the clock shows it."""
        if self.still:
            yield from frames
            return
        held = next(frames)
        for frame in chain(frames, [None]):
            end = frame.time if frame else held.time + self._step_after(held.time)
            times = self.clock.times_shown(held.time, end)
            for time in times[:-1]:
                yield held._replace(time=time, picture=yuv.clone(held.picture))
            for time in times[-1:]:
                yield held._replace(time=time)
            held = frame or held

    def _repeat(self, times: list[float], extend: str) -> Iterator[TimedFrame]:
        """What follows the first pass, without end. times: of its frames."""
        late = self.clock.picture.start if self.clock.picture else 0.0
        last, step = times[-1], self._step_after(times[-1])
        if len(times) == 1 or extend == "hold":
            (held,) = self.read_range(times, len(times) - 1, len(times))
            for n in count(1):
                yield TimedFrame(held.number, last + n * step, yuv.clone(held.picture))
        for n in count(1):
            gc.collect()  # PyAV's containers are in reference cycles, each with a decoder and its pictures
            if extend == "loop":
                for frame in self._decode():
                    yield frame._replace(time=n * (last - late + step) + frame.time)
                continue
            turn = 2 * n * (last - late)
            for end in range(len(times) - 1, 1, -BACKWARD_FRAMES):  # backwards, without the first and the last
                gc.collect()
                for frame in reversed(self.read_range(times, max(1, end - BACKWARD_FRAMES), end)):
                    yield frame._replace(time=turn + 2 * late - frame.time)
            for frame in self._decode():
                yield frame._replace(time=turn + frame.time)

    def _step_after(self, last: float) -> float:
        """Seconds that the last frame of a pass, which begins at `last`, is shown."""
        step = 1 / float(self.rate if self.still else self.opened.rate)
        if self.still:
            return step
        step = step if self.clock.step < WRONG_RATE * step else self.clock.step
        left = self.length - last  # of a part: a long last frame is cut off or extended to its end
        return step if left == inf or left < step <= LONGEST_STEP else left

    def iter_once(self, seconds: float = inf) -> Iterator[TimedFrame]:
        """One pass of the video, up to `seconds`; of a still, its one picture. Only the first frame's time changes, to
        0."""
        for n, frame in enumerate(self._decode()):
            frame = frame if n else frame._replace(time=0.0)
            if frame.time > seconds - TOLERANCE:
                return
            yield frame

    def read_range(self, times: list[float], first: int, end: int) -> list[TimedFrame]:
        """Frames number `first` to `end` - 1. times: of all frames of a pass."""
        if not self.still:
            zero = self.clock.zero
            pictures = islice(self.opened.pictures(times[first] + zero), end - first)
            numbered = enumerate(pictures, first)
            found = [self._kept(number, stamp - zero, picture) for number, (stamp, picture) in numbered]
            if [frame.time for frame in found] == times[first:end]:
                return found
        frames = islice(self.iter_once(), first, end)  # seeking leads elsewhere in this file
        return [frame._replace(picture=yuv.clone(frame.picture)) for frame in frames]

    def frames_at(self, times: Sequence[float], slack: float = 0.0) -> list[TimedFrame]:
        """The frames shown at these ascending times, numbered from 0; times after the end give none. Late in a long
        video they are found by seeking, and may be up to `slack` seconds earlier where that saves decoding."""
        if self.still or not times:
            return list(self.iter_once()) if times else []
        found, zero = list[TimedFrame](), self.clock.zero
        if times[-1] * self.opened.rate >= FEW_FRAMES:
            for time in times:
                for stamp, picture in islice(self.opened.pictures(max(0.0, time - slack) + zero, time + zero), 1):
                    found.append(self._kept(len(found), max(0.0, stamp - zero), picture))
            return found
        half = 0.5 / float(self.rate)
        for frame in self.iter_once():
            reached = sum(frame.time >= time - half for time in times)
            if reached:
                found.append(frame._replace(number=len(found), picture=yuv.clone(frame.picture)))
                times = times[reached:]
            if not times:
                break
        return found

    def _kept(self, number: int, time: float, picture: av.VideoFrame) -> TimedFrame:
        """A copy of the frame, which stays valid when the decoder continues."""
        return TimedFrame(number, time, yuv.clone(self._transformed(picture)))

    def _decode(self) -> Iterator[TimedFrame]:
        """One pass, every frame at its own time."""
        zero = self.clock.zero
        pictures = self.opened.pictures(zero if self.part else None)
        for number, (stamp, picture) in enumerate(pictures):
            time = max(0.0, stamp - zero) if self.part else stamp - zero
            if number and time > self.length - TOLERANCE:
                return
            yield TimedFrame(number, time, self._transformed(picture))
            if self.still:
                return

    def _transformed(self, picture: av.VideoFrame) -> av.VideoFrame:
        pix_fmt = self.encoding.pix_fmt
        if not yuv.has_alpha(pix_fmt):
            flat = yuv.composite_over(picture, self.options.background)
            add_notice(self.opened.findings, *(["alpha composited"] if flat is not picture else []))
            picture = flat
        picture = yuv.scaled(yuv.to_format(picture, pix_fmt), *self.scaled)
        return yuv.rotate_crop(picture, 3 * self.options.rotate, self.cropped)


def _cropped(crop: tuple[int, int, int, int], width: int, height: int) -> Rect:
    top, bottom, left, right = crop
    far_right, far_bottom = width if right == -1 else min(right, width), height if bottom == -1 else min(bottom, height)
    if not (0 <= left < far_right and 0 <= top < far_bottom):
        raise InputError(f"--crop {top} {bottom} {left} {right}: nothing is left of a frame of {width}x{height}")
    return Rect(left, top, far_right, far_bottom)
