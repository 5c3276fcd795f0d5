"""Packets with time stamps that go on, of files in which they start again (joined recordings), or in which they are
those of decoding alone (AVI)."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av

TIME_JUMP = 60.0  # seconds; larger jumps of stamps are damage: time goes on without them
BACK = 0.02  # seconds by which decoding times go back where another recording begins; within one they never do
LONGEST_DELAY = 2.0  # seconds from decoding a picture to showing it; what says more is wrong
MOST_REORDERED = 4  # pictures shown after one that is decoded later, in what encoders make of H.264


class Joint(NamedTuple):
    """From this byte of the file on, stamps are moved by so many seconds; stream: of this one alone, None: of all."""

    position: int
    moved: float
    stream: int | None = None


def packets(container: Any, *streams: Any) -> Iterator[av.Packet]:
    """As container.demux(). Packets of pictures in AVI have the time of decoding as that of showing; see InOrder."""
    found, avi = joints(container), is_avi(container)
    if not found and not avi:
        yield from container.demux(*streams)
        return
    positions = {stream.index: 0 for stream in container.streams}  # not every packet has one
    units = {stream.index: stream.time_base for stream in container.streams}
    delays = dict.fromkeys(positions, 0)
    for packet in container.demux(*streams):
        index = packet.stream_index
        if packet.size:
            if avi and packet.stream.type == "video":
                packet.pts = packet.dts
            if packet.pts is not None and packet.dts is not None:
                if abs(packet.pts - packet.dts) * units[index] < LONGEST_DELAY:
                    delays[index] = packet.pts - packet.dts
                packet.pts = packet.dts + delays[index]
            positions[index] = positions[index] if packet.pos is None else packet.pos
            moved = [at.moved for at in found if at.position <= positions[index] and at.stream in (None, index)]
            ticks = round(moved[-1] / units[index]) if moved else 0
            packet.pts, packet.dts = (None if at is None else at + ticks for at in (packet.pts, packet.dts))
        yield packet


class InOrder:
    """When decoded pictures are shown, where packets say only when they are decoded: the first picture that comes out
    at the first of these times, and so on."""

    def __init__(self, decoder: Any) -> None:
        self._decoder, self._times = decoder, deque[int]()

    def sent(self, packet: av.Packet) -> None:
        if packet.dts is not None:
            self._times.append(packet.dts)

    def lost(self) -> None:
        """A packet gave no picture."""
        if self._times:
            self._times.pop()

    def timed(self, picture: Any) -> Any:
        own, most = picture.pts, MOST_REORDERED if self._decoder.has_b_frames else 0
        while own is not None and len(self._times) > most and self._times[most] < own:
            self._times.popleft()  # of a picture that was lost
        if self._times and most:
            picture.pts = self._times.popleft()
        return picture


def is_avi(container: Any) -> bool:
    return container.format.name == "avi"


def joints(container: Any) -> tuple[Joint, ...]:
    """Those of an open file, in order; of most files none."""
    path = Path(container.name)
    find = _empty_second_picture if is_avi(container) else _recordings
    looked_for = is_avi(container) or container.format.flags & av.format.Flags.ts_discont.value
    return find(path, path.stat().st_mtime_ns) if looked_for and path.is_file() else ()


def recordings(container: Any) -> int:
    """How many of them an open file consists of."""
    return 1 + sum(joint.stream is None for joint in joints(container))


@lru_cache(maxsize=16)
def _empty_second_picture(path: Path, modified: int) -> tuple[Joint, ...]:
    """FFmpeg writes the first picture of an AVI as if it were shown at 0, then an empty one where it is shown later."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = next(iter(container.streams.video), None)
        first: list[Any] = (
            [packet for packet in islice(container.demux(stream), 2) if packet.dts is not None] if stream else []
        )
        if stream is None or len(first) < 2 or first[1].dts - first[0].dts != 2:
            return ()
        return (Joint(first[1].pos, -float(stream.time_base or 0), stream.index),)


@dataclass
class _Run:
    """Packets of a stream, one after another: where the first and the last are, when the first is shown, when the last
    is decoded, when the picture or sound ends, how much later than decoded the last is shown; in bytes and seconds."""

    first: int
    shown: float
    last: int
    decoded: float
    end: float
    delay: float
    packets: int = 1

    def goes_on(self, decoded: float) -> bool:
        return -BACK < decoded - self.decoded < TIME_JUMP

    def add(self, other: "_Run") -> None:
        self.last, self.decoded, self.delay = other.last, other.decoded, other.delay
        self.end = max(self.end, other.end)
        self.packets += other.packets


@lru_cache(maxsize=16)
def _recordings(path: Path, modified: int) -> tuple[Joint, ...]:
    """The first picture of the next recording follows the last one without a gap; where there are none, sound."""
    with av.open(str(path), metadata_errors="replace") as container:
        streams = [*container.streams.video, *container.streams.audio]
        runs: dict[int, list[_Run]] = {stream.index: [] for stream in streams}
        with suppress(av.error.FFmpegError):  # broken from here on, as decoding will find
            for packet in container.demux(*streams) if streams else ():
                if packet.size and packet.dts is not None:
                    _add(runs[packet.stream_index], packet)
    guide, *others = [_without_slips(found) for found in runs.values() if found] or [[]]
    result, moved = list[Joint](), 0.0
    for before, after in pairwise(guide):
        starts = [run.first for found in others for run in found if before.last < run.first < after.first]
        moved += before.end - after.shown
        result.append(Joint(min([after.first, *starts]), moved))
    return tuple(result)


def _add(runs: list[_Run], packet: Any) -> None:
    position = packet.pos if packet.pos is not None else runs[-1].last if runs else 0
    unit = float(packet.time_base)
    decoded, delay = packet.dts * unit, 0.0 if packet.pts is None else (packet.pts - packet.dts) * unit
    if abs(delay) >= LONGEST_DELAY:
        delay = runs[-1].delay if runs else 0.0
    shown = decoded + delay
    new = _Run(position, shown, position, decoded, shown + (packet.duration or 0) * unit, delay)
    if runs and runs[-1].goes_on(decoded):
        runs[-1].add(new)
    else:
        runs.append(new)


def _without_slips(runs: list[_Run]) -> list[_Run]:
    """A single packet with a wrong stamp is no recording."""
    result: list[_Run] = []
    for run in runs:
        if len(result) > 1 and result[-1].packets == 1 and result[-2].goes_on(run.decoded):
            result.pop()
            result[-1].add(run)
        else:
            result.append(run)
    return result
