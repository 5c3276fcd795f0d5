"""The clock of a file: when its pictures are shown and its sound is heard, as a player does it.

    stamps      7.0       7.6                          10.0  10.1
    sound       |==========....=======================|=====|
    picture                |0    1    2         3    4|
    time        0.0       0.6                          3.0   3.1     seconds from zero
    heard       |==========    =======================|=====|
    shown       |0    0    0    1    2    2    3    4 |4    |

Zero is the earliest stamp of the file (FFmpeg's start_time). Pictures and sound count from it, each from its own
stamps, so that they keep their relation whichever comes first.

Sound   A packet is heard when its stamp says; missing sound is silent (media/sound.py: continuous). Where sound and
        picture are stamped so far apart that one starts TIME_JUMP after the other has ended, both start at zero.
Picture A picture is shown until the next one; the first from zero on, the last until the sound ends, if that is not
        more than END_HELD later. In a dub it is repeated where it would stay longer than LONGEST_STEP, for each
        repetition gets a mouth of its own; where most of the file is that slow (SLOWEST), at the times n/fps.

In joined recordings, whose stamps start again, the first picture of a recording follows the last one of the recording
before without a gap; where there are no pictures, the sound does.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from media.formats import READ_OPTIONS

SLOWEST = 23.5  # pictures a second; film's 24/1.001 is not slow, however its stamps are rounded
LONGEST_STEP = 1.2 / 24  # seconds from picture to picture; what a sound encoder puts before the first is less
END_HELD = 0.5  # seconds by which the sound may outlast the picture that is held for it
MENTIONED = 0.04  # seconds; smaller differences are no finding
TIME_JUMP = 60.0  # seconds; larger jumps of stamps are damage: they are taken out
BACK = 0.02  # seconds by which decoding times go back where another recording begins; within one they never do
LONGEST_DELAY = 2.0  # seconds from decoding a picture to showing it; what says more is wrong
ASIDE = (
    av.stream.Disposition.comment | av.stream.Disposition.visual_impaired | av.stream.Disposition.descriptions
    | av.stream.Disposition.hearing_impaired | av.stream.Disposition.karaoke
)  # fmt: skip
NO_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.dependent
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
        if self.misplaced:
            found.append(f"sound stamped {abs(self.misplaced):.0f} s off, started at once")
        if self.slow:
            found.append(f"{self.fps:g} fps from {round(1 / self.step, 2):g}")
        elif self.longer_steps and self.fps is not None:
            found.append(f"below 24 fps in {counted(self.longer_steps, 'place')}")
        return found


def counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


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


def read_clock(container: Any, sound: Any = None, video_number: int | None = None) -> Clock:
    """The clock of an open file, from all its packets. sound: the sound stream in question, if any."""
    video, zero = picture_stream(container, video_number), (container.start_time or 0) / av.time_base
    sound = sound if sound is not None and can_be_decoded(sound) else None
    streams = [stream for stream in (video, sound) if stream is not None]
    stamps: dict[int, list[tuple[int, int]]] = {stream.index: [] for stream in streams}  # and durations
    with suppress(av.error.FFmpegError):  # broken from here on, as decoding will find
        for packet in packets(container, *streams) if streams else ():
            stamp = packet.pts if packet.pts is not None or packet.stream is not video else packet.dts
            if packet.size and stamp is not None:
                stamps[packet.stream_index].append((stamp, packet.duration or 0))
    clock, shown, heard = Clock(zero, recordings=1 + len(_joints(container)) * (not is_avi(container))), None, None
    if sound is not None and stamps[sound.index]:
        heard, _ = _span(stamps[sound.index], sound.time_base, zero)
    if video is not None:
        usual = 1 / float(video.average_rate or video.guessed_rate or 25)
        in_order = sorted(dict(sorted(stamps[video.index])).items())
        shown, steps = _span(in_order, video.time_base, zero, usual) if in_order else (None, np.zeros(0))
        step = float(np.median(steps)) if len(steps) else usual
        clock = replace(clock, step=step, longer_steps=int(np.count_nonzero(steps > LONGEST_STEP)))
    late = apart = heard.start if heard else 0.0  # another of the file's streams starts first
    if heard and shown:
        late, apart = heard.start - shown.start, max(heard.start - shown.end, shown.start - heard.end)
    if heard and apart > TIME_JUMP:  # stamps that cannot be true
        clock = replace(clock, misplaced=late, zero=zero + (shown.start if shown else 0.0))
        heard, shown = (span and Span(0.0, span.end - span.start) for span in (heard, shown))
    return replace(clock, picture=shown, sound=heard)


def _span(stamps: list[tuple[int, int]], time_base: Any, zero: float, usual: float = 0.0) -> tuple[Span, np.ndarray]:
    """From the first packet to the end of the last, without jumps of stamps; and the seconds from packet to packet.

    stamps: and durations, in units of time_base; usual: seconds from one packet to the next, where there is only one.
    """
    ticks, second = time_base.as_integer_ratio()
    times, durations = (np.array(column) * ticks / second for column in zip(*stamps, strict=True))
    times = times - zero
    steps = np.diff(times)
    last = durations[-1] or (np.median(steps) if len(steps) else usual)
    end = times[-1] - steps[np.abs(steps) >= TIME_JUMP].sum() + last
    return Span(max(0.0, float(times[0])), float(end)), steps


def packets(container: Any, *streams: Any) -> Iterator[av.Packet]:
    """As container.demux(), with continuous stamps where those of the file start again. Pictures in AVI are stamped
    with the time of decoding; media/reader.py: in_order() gives them theirs."""
    joints, avi = _joints(container), is_avi(container)
    if not joints and not avi:
        yield from container.demux(*streams)
        return
    positions = {stream.index: 0 for stream in container.streams}  # not every packet has one
    delays = dict.fromkeys(positions, 0)
    for packet in container.demux(*streams):
        if packet.size:
            index, unit, picture = packet.stream_index, packet.time_base, packet.stream.type == "video"
            if avi and picture:
                packet.pts = packet.dts
            if packet.pts is not None and packet.dts is not None:
                if abs(packet.pts - packet.dts) * unit < LONGEST_DELAY:
                    delays[index] = packet.pts - packet.dts
                packet.pts = packet.dts + delays[index]
            positions[index] = positions[index] if packet.pos is None else packet.pos
            moved = [joint.moved for joint in joints if joint.position <= positions[index] and (picture or not avi)]
            ticks = round(moved[-1] / unit) if moved else 0
            packet.pts, packet.dts = (None if at is None else at + ticks for at in (packet.pts, packet.dts))
        yield packet


def is_avi(container: Any) -> bool:
    return container.format.name == "avi"


class Joint(NamedTuple):
    """Where the stamps of a file have to be moved; in AVI those of the pictures alone."""

    position: int  # byte of the file, from which on
    moved: float  # seconds


def _joints(container: Any) -> tuple[Joint, ...]:
    """Those of an open file, in order; of most files none."""
    path = Path(container.name)
    looked_for = is_avi(container) or container.format.flags & av.format.Flags.ts_discont.value
    return _find_joints(path, path.stat().st_mtime_ns) if looked_for and path.is_file() else ()


@lru_cache(maxsize=16)
def _find_joints(path: Path, modified: int) -> tuple[Joint, ...]:
    with av.open(str(path), options=READ_OPTIONS, metadata_errors="replace") as container:
        return _after_empty_picture(container) if is_avi(container) else _between_recordings(container)


def _after_empty_picture(container: Any) -> tuple[Joint, ...]:
    """FFmpeg writes the first picture of an AVI as if it were shown at 0, then an empty one where it is shown later."""
    if not container.streams.video:
        return ()
    first = [packet for packet in islice(container.demux(video=0), 2) if packet.dts is not None]
    late = len(first) == 2 and first[1].dts - first[0].dts == 2
    return (Joint(first[1].pos, -float(first[1].time_base)),) if late else ()


class _Run(NamedTuple):
    """Packets of a stream whose stamps follow each other."""

    first: int  # byte of the file where the first packet is
    shown: float  # seconds at which it is shown
    last: int  # byte where the last packet is
    end: float  # seconds at which the last picture or sound ends


def _between_recordings(container: Any) -> tuple[Joint, ...]:
    found: dict[int, list[tuple[int, float, float, float]]] = {}  # by stream, as of _runs
    streams = [*container.streams.video, *container.streams.audio]
    with suppress(av.error.FFmpegError):  # broken from here on, as decoding will find
        for packet in container.demux(*streams) if streams else ():
            if packet.size and packet.dts is not None:
                known, unit = found.setdefault(packet.stream_index, []), float(packet.time_base)
                position = packet.pos if packet.pos is not None else known[-1][0] if known else 0
                delay = 0 if packet.pts is None else packet.pts - packet.dts
                known.append((position, packet.dts * unit, delay * unit, (packet.duration or 0) * unit))
    guide, *others = [_runs(found[stream.index]) for stream in streams if stream.index in found] or [[]]
    joints, moved = list[Joint](), 0.0
    for before, after in pairwise(guide):
        starts = [run.first for runs in others for run in runs if before.last < run.first < after.first]
        moved += before.end - after.shown
        joints.append(Joint(min([after.first, *starts]), moved))
    return tuple(joints)


def _runs(found: list[tuple[int, float, float, float]]) -> list[_Run]:
    """found: of every packet its byte, decoding time, seconds from decoding to showing, duration."""
    positions, decoded, delays, durations = np.array(found).T
    valid = np.maximum.accumulate(np.where(np.abs(delays) < LONGEST_DELAY, np.arange(len(delays)), -1))
    shown = decoded + np.where(valid < 0, 0.0, delays[valid])
    steps, ends = np.diff(decoded), shown + durations
    parts = np.split(np.arange(len(decoded)), np.flatnonzero((steps <= -BACK) | (steps >= TIME_JUMP)) + 1)
    return [
        _Run(int(positions[part[0]]), float(shown[part[0]]), int(positions[part[-1]]), float(ends[part].max()))
        for part in parts
    ]
