"""The clock of a file: when its pictures are shown and its sound is heard, as a player does it.

    stamps      7.0       7.6                          10.0  10.1
    sound       |==========....=======================|=====|
    picture                |0    1    2         3    4|
    time        0.0       0.6                          3.0   3.1     seconds from zero
    heard       |==========    =======================|=====|
    shown       |0    0    0    1    2    2    3    4 |4    |

Zero is the earliest stamp of the file (FFmpeg's start_time). Pictures and sound count from it, each from its own
stamps, so that they keep their relation whichever comes first.

Sound   A packet is heard when its stamp says. Stamps are compared with the samples so far: where they differ by more
        than HOLE, silence is put in (a hole), or what was heard already is cut (an overlap). So no sample is farther
        than HOLE from its time, and stamps that are rounded or waver by less change nothing.
        Where sound and picture are stamped so far apart that one starts TIME_JUMP after the other has ended, both start
        at zero.
Picture A picture is shown until the next one; the first from zero on, the last until the sound ends, if that is not
        more than END_HELD later. In a dub it is repeated where it would stay longer than LONGEST_STEP, for each
        repetition gets a mouth of its own; where most of the file is that slow (SLOWEST), at the times n/fps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import av
import numpy as np

from media import stamps
from media.stamps import TIME_JUMP

HOLE = 0.01  # seconds: half of the shortest packet in common use (Opus, 20 ms), ten times what Matroska rounds to
SLOWEST = 23.5  # pictures a second; film's 24/1.001 is not slow, however its stamps are rounded
LONGEST_STEP = 1.2 / 24  # seconds from picture to picture; what a sound encoder puts before the first is less
END_HELD = 0.5  # seconds by which the sound may outlast the picture that is held for it
MENTIONED = 0.04  # seconds; smaller differences are no finding
ASIDE = (
    av.stream.Disposition.comment | av.stream.Disposition.visual_impaired | av.stream.Disposition.descriptions
    | av.stream.Disposition.hearing_impaired | av.stream.Disposition.karaoke
)  # fmt: skip
NO_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.dependent
ROUNDED = 1.5  # units of a time base by which stamps may be off

TOLERANCE = 1e-6  # seconds


class Span(NamedTuple):
    """Seconds from zero."""

    start: float
    end: float


@dataclass(frozen=True)
class Clock:
    zero: float  # the stamp, in seconds, that counts as time 0
    picture: Span | None = None  # from the first picture to the end of the last
    sound: Span | None = None
    misplaced: float = 0.0  # seconds by which the sound's stamps are off besides
    holes: tuple[Span, ...] = ()  # missing sound
    overlaps: float = 0.0  # seconds of sound that are stamped twice
    jumps: int = 0  # of the sound's stamps
    step: float = 0.04  # seconds from picture to picture, the median
    longer_steps: int = 0  # how many are longer than LONGEST_STEP
    fps: float | None = None  # pictures a second that are shown at least; None: as many as there are
    recordings: int = 1  # that were joined, so that the file's own stamps start again

    def filled(self, fps: float | None) -> "Clock":
        """The same with `fps` pictures a second, repeated where the file has fewer."""
        return replace(self, fps=fps)

    def within(self, start: float, end: float | None) -> "Clock":
        """The clock of the part from `start` to `end` (None: to the end). Its times count from its start."""
        if self.picture is None:
            return replace(self, zero=self.zero + start)
        last = self.picture.end if end is None else min(end, self.picture.end)
        return replace(self, zero=self.zero + start, picture=Span(max(0.0, self.picture.start - start), last - start))

    @property
    def sound_zero(self) -> float:
        """The stamp of the sound, in seconds, that counts as time 0."""
        return self.zero + self.misplaced

    @property
    def slow(self) -> bool:
        """Whether all pictures are shown at the times n/fps."""
        return self.fps is not None and 1 / self.step < min(SLOWEST, self.fps)

    def times_shown(self, start: float, end: float) -> list[float]:
        """The times, in seconds from zero, at which a picture is output that is shown from `start` to `end`."""
        if self.fps is None:
            return [start]
        if self.slow:
            first, last = (ceil((time - TOLERANCE) * self.fps) for time in (start, end))
            return [n / self.fps for n in range(first, last)]
        count = ceil((end - start - TOLERANCE) * self.fps) if end - start > LONGEST_STEP else 1
        return [start + n * (end - start) / count for n in range(count)]

    def holds_end(self, seconds: float) -> bool:
        """Whether the last picture is held for sound of that length: only a moment is missing."""
        return self.picture is not None and 0 < seconds - self.picture.end < END_HELD

    @property
    def findings(self) -> list[str]:
        """What is unusual, in short phrases."""
        found = []
        for name, span in (("sound", self.sound), ("picture", self.picture)):
            if span and span.start >= MENTIONED:
                found.append(f"{name} starts {span.start:.2f} s late")
        if self.recordings > 1:
            found.append(f"{self.recordings} recordings joined")
        if self.holes:
            found.append(f"{_counted(len(self.holes), 'hole')} in the sound, {sum(b - a for a, b in self.holes):.1f} s")
        if self.overlaps >= MENTIONED:
            found.append(f"overlapping sound, {self.overlaps:.2f} s")
        if self.jumps:
            found.append(f"time stamps jump in {_counted(self.jumps, 'place')}")
        if self.misplaced:
            found.append(f"sound stamped {abs(self.misplaced):.0f} s off, started at once")
        if self.slow:
            found.append(f"{self.fps:g} fps from {round(1 / self.step, 2):g}")
        elif self.longer_steps and self.fps is not None:
            found.append(f"below 24 fps in {_counted(self.longer_steps, 'place')}")
        return found


def picture_streams(container: Any) -> list[Any]:
    """The videos of a file, without cover pictures and tiles of a picture."""
    return [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]


def picture_stream(container: Any, number: int | None = None) -> Any:
    """The video with this number, by default the first that is marked as default, or the first; None where the file
    has none."""
    streams = picture_streams(container)
    if number is not None:
        return streams[number] if number < len(streams) else None
    return min(streams, key=lambda stream: not stream.disposition & av.stream.Disposition.default, default=None)


def sound_track(container: Any, video_number: int | None = None) -> Any:
    """The sound that is heard where none is asked for; None where the file has none. Preferred is what can be decoded,
    belongs to the picture's program, is not a comment or description, is marked as default, comes first."""
    picture, best = picture_stream(container, video_number), container.streams.best

    def rank(stream: Any) -> tuple[bool, ...]:
        foreign = picture is not None and best("video", related=stream) != best("video", related=picture)
        marks = stream.disposition
        return not can_be_decoded(stream), foreign, bool(marks & ASIDE), not marks & av.stream.Disposition.default

    return min(container.streams.audio, key=rank, default=None)


def can_be_decoded(stream: Any) -> bool:
    """Whether there is a decoder for this sound, and the file says what it needs to know."""
    context = stream.codec_context
    return context is not None and bool(context.sample_rate and context.layout.nb_channels)


def zero_of(container: Any) -> float:
    """The stamp, in seconds, that counts as time 0."""
    return (container.start_time or 0) / av.time_base


def read_clock(container: Any, sound: Any = None, video_number: int | None = None) -> Clock:
    """The clock of an open file, from all its packets. sound: the sound stream in question, if any."""
    video, zero = picture_stream(container, video_number), zero_of(container)
    sound = sound if sound is not None and can_be_decoded(sound) else None
    streams = [stream for stream in (video, sound) if stream is not None]
    packets: dict[int, list[tuple[float | None, float]]] = {stream.index: [] for stream in streams}
    units = {stream.index: stream.time_base.as_integer_ratio() for stream in streams}  # a Fraction is slow to multiply
    try:
        for packet in stamps.packets(container, *streams) if streams else ():
            stamp = packet.pts if packet.pts is not None or packet.stream is not video else packet.dts
            if packet.size:
                ticks, second = units[packet.stream_index]
                time = None if stamp is None else stamp * ticks / second - zero
                packets[packet.stream_index].append((time, (packet.duration or 0) * ticks / second))
    except av.error.FFmpegError:  # broken from here on, as decoding will find
        pass
    clock = Clock(zero, recordings=stamps.recordings(container))
    if sound is not None:
        rounded = ROUNDED * float(sound.time_base)
        length = _packet_length(sound, [seconds for _, seconds in packets[sound.index]], rounded)
        heard = [(time, length or seconds) for time, seconds in packets[sound.index]]
        clock = _with_sound(clock, heard, rounded, _shortest_hole(sound, heard))
    if video is not None:
        clock = _with_picture(clock, packets[video.index], float(video.average_rate or video.guessed_rate or 25))
    return _together(clock)


def _together(clock: Clock) -> Clock:
    """The clock, with sound and picture started together where their stamps are too far apart to be true."""
    picture, sound = clock.picture, clock.sound
    if sound is None or picture is None:
        late = sound.start if sound else 0.0  # another of the file's streams starts first
        apart = late > TIME_JUMP
    else:
        late = sound.start - picture.start
        apart = max(sound.start - picture.end, picture.start - sound.end) > TIME_JUMP
    if not apart:
        return clock
    if picture:
        clock = replace(clock, zero=clock.zero + picture.start, picture=Span(0.0, picture.end - picture.start))
    assert sound is not None
    return replace(
        clock,
        misplaced=late,
        sound=Span(0.0, sound.end - sound.start),
        holes=tuple(Span(start - sound.start, end - sound.start) for start, end in clock.holes),
    )


def _packet_length(sound: Any, durations: list[float], rounded: float) -> float | None:
    """The seconds of sound in every packet, None where these differ. Stored durations are rounded, and in MP4 each
    reaches to the next packet, which hides missing sound."""
    context, usual = sound.codec_context, float(np.median(durations)) if durations else 0.0
    exact = context.frame_size / context.sample_rate if context.frame_size and context.sample_rate else 0.0
    if exact and abs(exact - usual) <= rounded:
        return exact
    return usual if "mp4" in sound.container.format.name.split(",") else None


def _shortest_hole(sound: Any, packets: list[tuple[float | None, float]]) -> float:
    """Seconds from which on something is missing. A Vorbis packet lasts longer than it says where a long block follows
    a short one."""
    vorbis = sound.codec_context.name == "vorbis"
    return max((HOLE, *(seconds for _, seconds in packets))) if vorbis else HOLE


def _with_sound(
    clock: Clock, packets: Iterable[tuple[float | None, float]], rounded: float, hole: float = HOLE
) -> Clock:
    start: float | None = None
    expected, holes, overlaps, shift, jumps = 0.0, [], 0.0, 0.0, 0  # shift: of stamps after jumps
    for time, seconds in packets:
        if start is None:
            start = expected = time or 0.0
        off = 0.0 if time is None else time + shift - expected
        if abs(off) >= TIME_JUMP:
            shift, off, jumps = shift - off, 0.0, jumps + 1
        if off > hole:
            holes.append(Span(expected, expected + off))
        if off < -HOLE:
            overlaps -= off
        if abs(off) > HOLE or abs(off) <= rounded:
            expected += off
        expected += seconds
    if start is None:
        return clock
    return replace(clock, sound=Span(max(0.0, start), expected), holes=tuple(holes), overlaps=overlaps, jumps=jumps)


def _with_picture(clock: Clock, packets: Iterable[tuple[float | None, float]], rate: float) -> Clock:
    known = sorted((time, seconds) for time, seconds in packets if time is not None)
    if not known:
        return replace(clock, step=1 / rate)
    steps = np.diff(sorted({time for time, _ in known}))
    step = float(np.median(steps)) if len(steps) else 1 / rate
    end = known[-1][0] + (known[-1][1] or step)
    longer = int(np.count_nonzero(steps > LONGEST_STEP))
    return replace(clock, picture=Span(max(0.0, known[0][0]), end), step=step, longer_steps=longer)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
