"""Frames of a video replaced, all packets outside them copied as they are.

frames            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15     K: key frames
                  K                     K
to be replaced            |-------|
encoded again           |---------------|                   to the next key frame, from where packets can be cut off
copied            |-----|               |-------------|
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from media import codecs
from media.clock import picture_stream
from media.pictures import Still
from media.reader import VideoReader, open_media, silence_ffmpeg
from media.writer import OF_THE_FILE, VideoWriter, container_flags
from utils.errors import InputError
from utils.files import atomic_write

ROUNDED = 0.002  # seconds by which time stamps may differ; Matroska's are whole milliseconds


class PacketIndex(NamedTuple):
    """The packets of a video in the order of decoding. Numbers of frames go by the order in which these are shown.

    pts: int64 [N]; keys: bool [N], whether decoding can begin there; time_base: seconds of a stamp.
    """

    pts: np.ndarray
    keys: np.ndarray
    time_base: Fraction

    @classmethod
    def of(cls, path: Path) -> "PacketIndex":
        with open_media(path) as container:
            stream = picture_stream(container)
            if stream is None:
                raise InputError(f"{path}: has no pictures")
            packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
            stamps, keys = zip(*packets, strict=True) if packets else ((), ())
            if not packets or None in stamps:
                raise InputError(f"{path}: its pictures have no time stamps")
            return cls(np.array(stamps, np.int64), np.array(keys), stream.time_base)

    @property
    def stamps(self) -> np.ndarray:
        """int64 [N], of the frames in the order in which they are shown."""
        return np.sort(self.pts)

    @property
    def times(self) -> np.ndarray:
        """float64 [N], of the frames in seconds from the first."""
        stamps = self.stamps
        return (stamps - stamps[0]) * float(self.time_base)

    def encoded_again(self, frames: range) -> range:
        """The frames that have to be encoded again where these are replaced, all others being copied: the packets
        before and after them can be decoded without them."""
        heads = np.flatnonzero(np.maximum.accumulate(self.pts) == self.stamps) + 1  # the first n are n frames
        tails = np.flatnonzero(self._begins_anew())
        first, end = heads[heads <= frames.start], tails[tails >= frames.stop]
        return range(int(first[-1]) if len(first) else 0, int(end[0]) if len(end) else len(self.pts))

    def key_before(self, frame: int) -> int:
        """Where decoding has to begin for this frame to be there."""
        return int(np.flatnonzero(self._begins_anew()[: frame + 1])[-1])

    def _begins_anew(self) -> np.ndarray:
        """bool [N], whether this packet and all that follow can be decoded without those before."""
        earliest = np.minimum.accumulate(self.pts[::-1])[::-1]  # of this packet and all that follow
        anew = self.keys & (earliest == self.stamps) & (self.pts == earliest)
        anew[0] = True
        return anew


class FrameReplacement:
    """Writes a copy of `earlier` whose `frames` are new, as a context manager, with the methods of a VideoWriter.

    All new frames have to be written, in order. index: of `earlier`; encoded: frames that are encoded again, of which
    those besides `frames` are decoded for it; rate, like, encoding: what `earlier` was written with, as of a
    VideoWriter. path may be `earlier` itself.
    """

    def __init__(
        self,
        path: Path,
        earlier: Path,
        index: PacketIndex,
        frames: range,
        rate: Fraction,
        like: VideoReader | Still | None = None,
        encoding: codecs.Encoding | None = None,
    ) -> None:
        self.path, self.earlier, self.index, self.frames, self.rate = path, earlier, index, frames, rate
        self.encoded = index.encoded_again(frames)
        self._times, self._next = index.times, self.encoded.start
        self._like, self._encoding = like, encoding
        self._resources = ExitStack()
        self._old: Iterator[av.VideoFrame] = iter(())

    def __enter__(self) -> "FrameReplacement":
        with ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix=".splice.", dir=self.path.parent)
            self._part = Path(stack.enter_context(folder)) / f"part{self.earlier.suffix}"
            self._old = self._decoded()
            stack.callback(self._old.close)  # type: ignore[attr-defined]  # a generator
            self._writer = VideoWriter(self._part, self.rate, like=self._like, encoding=self._encoding)
            self._written = stack.enter_context(ExitStack())
            self._written.enter_context(self._writer)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._written.__exit__(*error)
            self._resources.__exit__(*error)
            return
        with self._resources:
            if self._next != self.frames.stop:
                raise InputError(f"{self.earlier}: frame {self._next} has no successor any more; dub it anew")
            self._keep_until(self.encoded.stop)
            self._written.close()
            self._splice()

    def write_picture(self, picture: av.VideoFrame, time: float) -> None:
        """The next of the new frames; time: seconds from the start of the video."""
        self._keep_until(self.frames.start)
        if abs(time - self._times[self._next]) > ROUNDED:
            raise InputError(
                f"{self.earlier}: shows a frame at {self._times[self._next]:.3f} s that is now at {time:.3f} s; dub it "
                "anew"
            )
        self._write(picture)

    def _write(self, picture: av.VideoFrame) -> None:
        self._writer.write_picture(picture, self._times[self._next] - self._times[self.encoded.start])
        self._next += 1

    def _keep_until(self, end: int) -> None:
        """Encode the earlier frames as they are up to this one."""
        while self._next < end:
            self._write(next(self._old))

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """The earlier frames that are encoded again without being replaced."""
        key, stamps = self.index.key_before(self.encoded.start), self.index.stamps
        with open_media(self.earlier) as container:
            stream = picture_stream(container)
            packets = (packet for packet in container.demux(stream) if packet.size)
            for number, packet in enumerate(packets):
                if number < key:
                    continue
                done = number == self.encoded.stop - 1
                for picture in [*stream.decode(packet), *(stream.decode(None) if done else [])]:
                    frame = int(np.searchsorted(stamps, picture.pts))
                    if frame in self.encoded and frame not in self.frames:
                        yield picture
                if done:
                    return

    def _splice(self) -> None:
        part, encoded = PacketIndex.of(self._part), self.encoded
        if len(part.pts) != len(encoded):
            raise InputError(f"{self.earlier}: {self._unlike()}")
        order = np.searchsorted(part.stamps, part.pts)  # of every packet, which frame of the part it is
        pts = self.index.stamps[encoded.start : encoded.stop][order]
        silence_ffmpeg()
        with (
            atomic_write(self.path) as temporary,
            open_media(self.earlier) as old,
            open_media(self._part) as new,
            av.open(str(temporary.absolute()), "w", options=container_flags(self.path)) as out,
        ):
            video, replacing = picture_stream(old), picture_stream(new)
            if video.codec_context.extradata != replacing.codec_context.extradata:
                raise InputError(f"{self.earlier}: {self._unlike()}")
            tracks = [video, *old.streams.audio]
            streams = {track.index: out.add_stream_from_template(track, opaque=True) for track in tracks}
            out.metadata.update({key: text for key, text in old.metadata.items() if key not in OF_THE_FILE})
            replacements = (packet for packet in new.demux(replacing) if packet.size)
            number = 0
            for packet in old.demux(*tracks):
                if not packet.size:
                    continue
                index = packet.stream_index
                if packet.stream is video:
                    if number in encoded:
                        packet = _in_place_of(packet, next(replacements), int(pts[number - encoded.start]))
                    number += 1
                packet.stream = streams[index]
                out.mux(packet)

    def _unlike(self) -> str:
        return "cannot be spliced with what its encoder makes today; dub it anew"


def _in_place_of(old: av.Packet, new: av.Packet, pts: int) -> av.Packet:
    """The new packet, decoded when the old one was."""
    new.time_base, new.pts, new.dts, new.duration = old.time_base, pts, old.dts, old.duration
    return new
