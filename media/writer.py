"""Encoding one video: pictures with time stamps, sound of another file; chapters, subtitles, timecode of the source."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from math import inf
from pathlib import Path
from typing import Any

import av
import numpy as np

from media import yuv
from media.clock import Span, packets, picture_stream
from media.codecs import Encoding, choose
from media.formats import CONTAINERS
from media.opening import add_notice, naming, open_media, silence_ffmpeg, with_tag
from media.reader import Still, VideoReader
from media.sound import sound_packets
from utils.errors import InputError
from utils.files import atomic_write

TIME_BASE = Fraction(1, 90_000)  # holds 24, 25, 30, 50, 60 fps exactly and any phone's time stamps closely

KEY_SECONDS = 5  # from key frame to key frame at most; fewer cost less
TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")
MOST_TIMECODE_FPS = 255  # that a timecode can count
DROP_FRAME_RATE = 30  # and multiples of it: where a timecode may have a semicolon
NOT_COPIED = (av.error.FFmpegError, ValueError, AttributeError)  # the last of a codec that FFmpeg does not know
OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # not of what it shows


@dataclass
class VideoWriter:
    """Write a video as a context manager; it appears under its name only when the block ends without an error.

    Odd widths and heights grow by one pixel, since 4:2:0 has only even ones.
    """

    path: Path
    rate: Fraction  # frames a second, a hint for the encoder
    sound: Path | None = None  # any media file whose sound goes in from time 0
    like: VideoReader | Still | None = None  # a source whose pixel shape, HDR metadata and other metadata are copied
    encoding: Encoding | None = None  # by default H.264
    sound_stream: int | None = None  # which of its tracks; None: the one that is heard
    sound_seconds: float = inf  # up to when
    dubbed: bool = False  # tag the video as a dub
    part: Path | None = None  # where to write instead, for a caller that renames the file
    shown: Span | None = None  # the seconds of `like`, from its zero, whose chapters, subtitles and timecode are copied

    def __enter__(self) -> "VideoWriter":
        silence_ffmpeg()
        os.environ.setdefault("SVT_LOG", "1")  # errors only; that encoder asks nobody else
        suffix = self.path.suffix.lower()
        self._encoding = self.encoding or choose("auto", suffix)
        self._video: Any = None
        self._others: Iterator[av.Packet] = iter(())  # of sound and subtitles
        self._others_time, self._last_pts = 0.0, -1
        flags = {"movflags": "+faststart"} if suffix in (".mp4", ".mov", ".m4v") else {}
        with ExitStack() as stack:
            temporary = self.part or stack.enter_context(atomic_write(self.path))
            try:
                container = av.open(str(temporary.absolute()), "w", CONTAINERS.get(suffix), options=flags)
            except (av.error.FFmpegError, OSError) as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}); give another --outfile"
                ) from error
            self._container: Any = stack.enter_context(container)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._others = iter(())  # closes their files
            self._resources.__exit__(*error)
            return
        with self._resources, naming(self.path):
            self._container.mux(self._video.encode(None))
            self._mux_others_until(inf)
            self._others = iter(())

    def write(self, image: np.ndarray, time: float) -> None:
        """image: BGR uint8 [H, W, 3]; time: seconds from the start of the video, increasing."""
        self.write_picture(yuv.from_bgr(image, self._encoding.pix_fmt), time)

    def write_picture(self, picture: av.VideoFrame, time: float) -> None:
        """picture: planar YUV in the encoding's format, of even sides; the first one's colour tags are the video's."""
        if picture.colorspace == yuv.UNSPECIFIED and self.like is not None:
            picture.colorspace = self.like.matrix
        if self._encoding.limited:
            picture = yuv.limited(picture)
        if self._video is None:
            self._add_streams(picture)
        picture.pts = self._last_pts = max(self._last_pts + 1, round(time / TIME_BASE))
        picture.time_base, picture.pict_type = TIME_BASE, av.video.frame.PictureType.NONE
        picture.duration = round(1 / (self.rate * TIME_BASE))
        with naming(self.path):
            self._container.mux(self._video.encode(picture))
            self._mux_others_until(time)

    def _add_streams(self, picture: av.VideoFrame) -> None:
        encoding, like = self._encoding, self.like
        options = dict(encoding.options)
        if like is not None and like.hdr is not None:
            levels = like.hdr.options(encoding.encoder)
            add_notice(like.findings, *([] if levels else ["HDR10 levels lost"]))
            for name, text in levels.items():
                options[name] = f"{options[name]}:{text}" if name in options else text
        self._video = self._container.add_stream(encoding.encoder, rate=self.rate, options=options)
        self._video.height, self._video.width = picture.height, picture.width
        self._video.pix_fmt = encoding.layout or encoding.pix_fmt
        context = self._video.codec_context
        context.time_base = TIME_BASE
        context.color_range, context.colorspace = picture.color_range, picture.colorspace
        context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
        most = max(1, round(KEY_SECONDS * self.rate))
        context.gop_size = most if context.gop_size < 0 else min(most, context.gop_size)
        if encoding.tag:
            context.codec_tag = encoding.tag
        metadata = {}
        if like is not None:
            context.sample_aspect_ratio = like.pixel_aspect
            metadata = {key: value for key, value in like.metadata.items() if key not in OF_THE_FILE}
        self._container.metadata.update(with_tag(metadata) if self.dubbed else metadata)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"--codec {encoding.encoder}: cannot be used here ({error}); try --codec h264 and the default "
                "--crf and --preset"
            ) from error
        others, suffix = [], self.path.suffix.lower()
        if self.sound is not None:
            others.append(sound_packets(self._container, self.sound, suffix, self.sound_stream, self.sound_seconds))
        if self.shown and isinstance(like, VideoReader):
            others.append(_other_packets(self._container, like, self.shown, self.rate, suffix))
        self._others = merge(*others, key=_time)  # asks each for its first packet, before which it adds its streams
        self._mux_others_until(0.0)

    def _mux_others_until(self, time: float) -> None:
        """Mux sound and subtitles along with the picture, so that none waits in memory for another."""
        while self._others_time <= time:
            packet = next(self._others, None)
            if packet is None:
                return
            self._others_time = _time(packet)
            self._container.mux(packet)


def _time(packet: av.Packet) -> float:
    return 0.0 if packet.pts is None else float(packet.pts * packet.time_base)


def _other_packets(
    container: Any, source: VideoReader, shown: Span, rate: Fraction, suffix: str
) -> Iterator[av.Packet]:
    """Copy chapters, timecode and subtitles of `source` into `container`, an output of this suffix without packets yet;
    yields the packets of subtitles. The findings of `source` name what the output cannot hold.

    shown: the part of the source, from its zero, that the output begins with; rate: pictures a second of the output.
    """
    start, length = source.clock.zero + shown.start, shown.end - shown.start
    with open_media(source.path) as opened:
        container.set_chapters(_chapters(opened, start, length))
        _copy_timecode(container, source, picture_stream(opened), shown, rate)
        copies, latest = {}, {}
        for stream in opened.streams.subtitles:
            try:
                copy = container.add_stream_from_template(stream)
            except NOT_COPIED:
                form = stream.codec_context.name if stream.codec_context else "unknown"
                add_notice(source.findings, f"subtitles lost ({form} in {suffix})")
                continue
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            copies[stream], latest[stream] = copy, 0
        with suppress(av.error.FFmpegError):  # broken from here on, as the pictures' decoder finds, too
            for packet in packets(opened, *copies) if copies else ():
                if packet.pts is None or not packet.size:
                    continue
                unit, stream = packet.time_base, packet.stream
                begin = float(packet.pts * unit) - start
                end = min(begin + float((packet.duration or 0) * unit), length)
                begin = max(0.0, begin)
                ticks = round(begin / unit)
                if begin <= end and begin < length and ticks >= latest[stream]:
                    packet.pts = packet.dts = latest[stream] = ticks
                    packet.duration = round(end / unit) - ticks
                    packet.stream = copies[stream]
                    yield packet


def _chapters(opened: Any, start: float, length: float) -> list[dict]:
    """The chapters that are shown, at the times of the output, which lasts `length` seconds from the stamp `start`."""
    kept = []
    for chapter in opened.chapters():
        unit = chapter["time_base"]
        begin, end = (min(max(float(chapter[edge] * unit) - start, 0.0), length) for edge in ("start", "end"))
        if end > begin:
            kept.append(chapter | {"start": round(begin / unit), "end": round(end / unit)})
    return kept


def _copy_timecode(container: Any, source: VideoReader, stream: Any, shown: Span, rate: Fraction) -> None:
    """The timecode is that of the first picture: it is copied where the output begins with it."""
    tags = {key.lower(): (key, value) for key, value in [*source.metadata.items(), *stream.metadata.items()]}
    if "timecode" not in tags:
        return
    (name, code), fps = tags["timecode"], round(rate)
    known = (
        TIMECODE.fullmatch(code) and 1 <= fps <= MOST_TIMECODE_FPS and (";" not in code or fps % DROP_FRAME_RATE == 0)
    )
    if known and not shown.start and rate == source.rate:
        container.metadata["timecode"] = code
    else:
        container.metadata.pop(name, None)
        add_notice(source.findings, "timecode lost")
