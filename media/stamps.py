"""Packets with continuous time stamps, also of files in which stamps start again (joined recordings) or are those of
decoding (AVI)."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

TIME_JUMP = 60.0  # seconds; larger jumps of stamps are damage: they are taken out
BACK = 0.02  # seconds by which decoding times go back where another recording begins; within one they never do
LONGEST_DELAY = 2.0  # seconds from decoding a picture to showing it; what says more is wrong
MOST_REORDERED = 4  # pictures shown after one that is decoded later, in what encoders make of H.264


class Joint(NamedTuple):
    """Where the stamps of a file have to be moved."""

    position: int  # byte of the file, from which on
    moved: float  # seconds
    stream: int | None = None  # whose stamps; None: those of all


def packets(container: Any, *streams: Any) -> Iterator[av.Packet]:
    """As container.demux(). Packets of pictures in AVI are stamped with the time of decoding; see InOrder."""
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
    """Gives decoded pictures their times where packets are stamped with the time of decoding: the first picture that
    comes out gets the first of these times, and so on."""

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


class _Run(NamedTuple):
    """Packets of a stream whose stamps follow each other."""

    first: int  # byte of the file where the first packet is
    shown: float  # seconds at which it is shown
    last: int  # byte where the last packet is
    end: float  # seconds at which the last picture or sound ends


@lru_cache(maxsize=16)
def _recordings(path: Path, modified: int) -> tuple[Joint, ...]:
    """The first picture of a recording follows the last one of the recording before without a gap; where there are no
    pictures, the sound does."""
    packets: dict[int, list[tuple[int, float, float, float]]] = {}
    with av.open(str(path), metadata_errors="replace") as container:
        streams = [*container.streams.video, *container.streams.audio]
        order = [stream.index for stream in streams]
        with suppress(av.error.FFmpegError):  # broken from here on, as decoding will find
            for packet in container.demux(*streams) if streams else ():
                if packet.size and packet.dts is not None:
                    known, unit = packets.setdefault(packet.stream_index, []), float(packet.time_base)
                    position = packet.pos if packet.pos is not None else known[-1][0] if known else 0
                    delay = 0 if packet.pts is None else packet.pts - packet.dts
                    known.append((position, packet.dts * unit, delay * unit, (packet.duration or 0) * unit))
    guide, *others = [_runs(packets[index]) for index in order if index in packets] or [[]]
    result, moved = list[Joint](), 0.0
    for before, after in pairwise(guide):
        starts = [run.first for found in others for run in found if before.last < run.first < after.first]
        moved += before.end - after.shown
        result.append(Joint(min([after.first, *starts]), moved))
    return tuple(result)


def _runs(packets: list[tuple[int, float, float, float]]) -> list[_Run]:
    """packets: byte, decoding time, seconds from decoding to showing, duration."""
    positions, decoded, delays, durations = np.array(packets).T
    valid = np.maximum.accumulate(np.where(np.abs(delays) < LONGEST_DELAY, np.arange(len(delays)), -1))
    shown = decoded + np.where(valid < 0, 0.0, delays[valid])
    broken = np.concatenate(([False], _is_jump(np.diff(decoded)), [False]))  # before each packet, and after the last
    slips = np.zeros(len(decoded), bool)  # a single packet with a wrong stamp is not a recording
    slips[1:-1] = broken[1:-2] & broken[2:-1] & ~_is_jump(decoded[2:] - decoded[:-2])
    kept, ends = np.flatnonzero(~slips), shown + durations
    parts = np.split(kept, np.flatnonzero(_is_jump(np.diff(decoded[kept]))) + 1)
    return [
        _Run(int(positions[part[0]]), float(shown[part[0]]), int(positions[part[-1]]), float(ends[part].max()))
        for part in parts
    ]


def _is_jump(steps: np.ndarray) -> np.ndarray:
    return (steps <= -BACK) | (steps >= TIME_JUMP)
