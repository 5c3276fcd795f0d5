"""A video played for as long as the speech lasts, and what is shown where that is longer than the video.

    --extend loop       0 1 2 3 0 1 2 3 0 ...
    --extend pingpong   0 1 2 3 2 1 0 1 2 ...
    --extend hold       0 1 2 3 3 3 3 3 3 ...

What is missing by less than half a second is held, whatever is asked.
"""

import gc
from collections.abc import Iterator
from itertools import chain, count

from dubbing.source import TOLERANCE, Source, TimedFrame
from media import yuv

BACKWARD_FRAMES = 24  # held at once while a video is played backwards


def play(
    source: Source, pix_fmt: str, seconds: float, extend: str = "loop", whole: bool = False
) -> Iterator[TimedFrame]:
    """What is shown for `seconds`, frames that stay for long again and again (media/clock.py); with `whole` the video
    is played to its end even where that is later."""
    times: list[float] = []
    for frame in _filled(source, _noted(source.once(pix_fmt), times)):
        if frame.time > seconds - TOLERANCE and not whole:
            return
        yield frame
    for frame in _filled(source, _more(source, pix_fmt, times, extend)):
        if frame.time > seconds - TOLERANCE:
            return
        yield frame


def _filled(source: Source, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """The frames, each as often as it is put out."""
    if source.still or source.clock is None:
        yield from frames
        return
    held = next(frames)
    for frame in chain(frames, [None]):
        end = frame.time if frame else held.time + source.step_after(held.time)
        times = source.clock.times_shown(held.time, end)
        for time in times[:-1]:
            yield held._replace(time=time, picture=yuv.copied(held.picture))
        for time in times[-1:]:
            yield held._replace(time=time)
        held = frame or held


def _more(source: Source, pix_fmt: str, times: list[float], extend: str) -> Iterator[TimedFrame]:
    """What follows the first play, without end."""
    late = source.clock.picture.start if source.clock and source.clock.picture else 0.0
    last, step = times[-1], source.step_after(times[-1])
    if len(times) == 1 or extend == "hold":
        (held,) = source.between(pix_fmt, times, len(times) - 1, len(times))
        for n in count(1):
            yield TimedFrame(held.number, last + n * step, yuv.copied(held.picture))
    for n in count(1):
        _free_decoders()
        if extend == "loop":
            for frame in source.decoded(pix_fmt):
                yield frame._replace(time=n * (last - late + step) + frame.time)
            continue
        for frame in _backward(source, pix_fmt, times):
            yield frame._replace(time=2 * n * (last - late) + 2 * late - frame.time)
        for frame in source.decoded(pix_fmt):
            yield frame._replace(time=2 * n * (last - late) + frame.time)


def _free_decoders() -> None:
    """PyAV's containers are in reference cycles, and with each goes a decoder with its pictures: left to Python, which
    counts objects and not their bytes, some 40 MB more with every play of 1080x1920."""
    gc.collect()


def _backward(source: Source, pix_fmt: str, times: list[float]) -> Iterator[TimedFrame]:
    """All frames but the first and the last, the latest first."""
    for end in range(len(times) - 1, 1, -BACKWARD_FRAMES):
        _free_decoders()
        yield from reversed(source.between(pix_fmt, times, max(1, end - BACKWARD_FRAMES), end))


def _noted(frames: Iterator[TimedFrame], times: list[float]) -> Iterator[TimedFrame]:
    """The frames, whose times are added to the list."""
    for frame in frames:
        times.append(frame.time)
        yield frame
