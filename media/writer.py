"""Encoding one video: pictures with time stamps, sound of another file; chapters, subtitles, timecode of the source."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from heapq import merge
from math import inf
from pathlib import Path
from typing import Any

import av
import numpy as np

from media import codecs, yuv
from media.clock import Span, packets, picture_stream
from media.files import add_notice, naming, open_media, silence_ffmpeg, with_tag
from media.formats import CONTAINERS
from media.pictures import Still
from media.reader import VideoReader
from media.sound import sound_packets
from utils.errors import InputError
from utils.files import atomic_write

TIME_BASE = Fraction(1, 90_000)  # holds 24, 25, 30, 50, 60 fps exactly and any phone's time stamps closely

KEY_SECONDS = 5  # from key frame to key frame at most; fewer cost less
TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")
MOST_TIMECODE_FPS = 255  # that a timecode can count
DROP_FRAME_RATE = 30  # and multiples of it: where a timecode may have a semicolon
OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # not of what it shows


class VideoWriter:
    """Write a video as a context manager; it appears under its name only when the block ends without an error.

    rate: frames a second, a hint for the encoder
    sound, sound_stream, sound_seconds: any media file whose sound goes in from time 0; which of its tracks (None: the
        one that is heard); up to when
    like: a source whose pixel shape, HDR metadata and other metadata are copied
    shown: the part of `like`, in seconds from its zero, whose chapters, subtitles and timecode are copied
    encoding: by default H.264
    dubbed: tag the video as a dub
    part: where to write instead, for a caller that renames the file

    Odd widths and heights grow by one pixel, since 4:2:0 has only even ones.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        sound: Path | None = None,
        like: VideoReader | Still | None = None,
        encoding: codecs.Encoding | None = None,
        sound_stream: int | None = None,
        sound_seconds: float = inf,
        dubbed: bool = False,
        part: Path | None = None,
        shown: Span | None = None,
    ) -> None:
        self.encoding = encoding or codecs.choose("auto", path.suffix)
        self.path, self.rate, self.like, self.dubbed, self.part = path, rate, like, dubbed, part
        self.shown = shown
        self._sound, self._sound_settings = sound, (path.suffix.lower(), sound_stream, sound_seconds)
        self._resources = ExitStack()
        self._container: Any = None
        self._video: Any = None
        self._others: Iterator[av.Packet] = iter(())
        self._others_time = 0.0
        self._last_pts = -1

    def __enter__(self) -> "VideoWriter":
        silence_ffmpeg()
        os.environ.setdefault("SVT_LOG", "1")  # errors only; that encoder asks nobody else
        with ExitStack() as stack:
            temporary = self.part or stack.enter_context(atomic_write(self.path))
            try:
                to = av.open(
                    str(temporary.absolute()),
                    "w",
                    CONTAINERS.get(self.path.suffix.lower()),
                    options=container_flags(self.path),
                )
                self._container = stack.enter_context(to)
            except (av.error.FFmpegError, OSError) as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}); give another --outfile"
                ) from error
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
        self.write_picture(yuv.from_bgr(image, self.encoding.pix_fmt), time)

    def write_picture(self, picture: av.VideoFrame, time: float) -> None:
        """picture: planar YUV in the encoding's format, of even sides; the first one's colour tags are the video's."""
        if picture.colorspace == yuv.UNSPECIFIED and self.like is not None:
            picture.colorspace = self.like.matrix
        if self.encoding.limited:
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
        options = dict(self.encoding.options)
        if self.like is not None and self.like.hdr is not None:
            levels = self.like.hdr.options(self.encoding.encoder)
            add_notice(self.like.findings, *([] if levels else ["HDR10 levels lost"]))
            for name, text in levels.items():
                options[name] = f"{options[name]}:{text}" if name in options else text
        self._video = self._container.add_stream(self.encoding.encoder, rate=self.rate, options=options)
        self._video.height, self._video.width = picture.height, picture.width
        self._video.pix_fmt = self.encoding.layout or self.encoding.pix_fmt
        context = self._video.codec_context
        context.time_base = TIME_BASE
        context.color_range, context.colorspace = picture.color_range, picture.colorspace
        context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
        most = max(1, round(KEY_SECONDS * self.rate))
        context.gop_size = most if context.gop_size < 0 else min(most, context.gop_size)
        if self.encoding.tag:
            context.codec_tag = self.encoding.tag
        if self.like is not None:
            context.sample_aspect_ratio = self.like.pixel_aspect
        known = self.like.metadata if self.like else {}
        metadata = {key: value for key, value in known.items() if key not in OF_THE_FILE}
        self._container.metadata.update(with_tag(metadata) if self.dubbed else metadata)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"--codec {self.encoding.encoder}: cannot be used here ({error}); try --codec h264 and the default "
                "--crf and --preset"
            ) from error
        others = []
        if self._sound is not None:
            others.append(sound_packets(self._container, self._sound, *self._sound_settings))
        if self.shown and isinstance(self.like, VideoReader):
            others.append(_other_packets(self._container, self.like, self.shown, self.rate, self.path.suffix))
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


def container_flags(path: Path) -> dict[str, str]:
    """Options of FFmpeg for a file of this suffix: what a player needs first comes first."""
    return {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}


def _other_packets(
    container: Any, source: VideoReader, shown: Span, rate: Fraction, suffix: str
) -> Iterator[av.Packet]:
    """Copy chapters, timecode and subtitles of `source` into `container`, an output of this suffix without packets yet;
    yields the packets of subtitles. The findings of `source` name what the output cannot hold.

    shown: the part of the source, from its zero, that the output begins with; rate: pictures a second of the output.
    """
    with open_media(source.path) as opened:
        container.set_chapters(_chapters(opened.chapters(), source.clock.zero, shown))
        _copy_timecode(container, source, picture_stream(opened), shown, rate)
        copies = {}
        for stream in opened.streams.subtitles:
            form = stream.codec_context.name if stream.codec_context else "unknown"
            try:
                copies[stream.index] = container.add_stream_from_template(stream)
            except (
                av.error.FFmpegError,
                ValueError,
                AttributeError,
            ):  # AttributeError: of a codec FFmpeg does not know
                add_notice(source.findings, f"subtitles lost ({form} in {suffix})")
                continue
            copies[stream.index].metadata.update(stream.metadata)
            copies[stream.index].disposition = stream.disposition
        streams = [stream for stream in opened.streams.subtitles if stream.index in copies]
        latest = dict.fromkeys(copies, 0)
        with suppress(av.error.FFmpegError):  # broken from here on, as the pictures' decoder finds, too
            for packet in packets(opened, *streams) if streams else ():
                if packet.pts is None or not packet.size:
                    continue
                unit, index = packet.time_base, packet.stream_index
                begin = float(packet.pts * unit) - source.clock.zero - shown.start
                end = min(begin + float((packet.duration or 0) * unit), shown.end - shown.start)
                ticks = round(max(0.0, begin) / unit)
                if end < max(0.0, begin) or begin >= shown.end - shown.start or ticks < latest[index]:
                    continue
                packet.pts = packet.dts = latest[index] = ticks
                packet.duration = round(end / unit) - ticks
                packet.stream = copies[index]
                yield packet


def _chapters(chapters: list[dict], zero: float, shown: Span) -> list[dict]:
    """The chapters that are shown, at the times of the output."""
    kept = []
    for chapter in chapters:
        unit = chapter["time_base"]
        begin, end = (
            min(max(float(chapter[edge] * unit) - zero, shown.start), shown.end) - shown.start
            for edge in ("start", "end")
        )
        if end > begin:
            kept.append(chapter | {"start": round(begin / unit), "end": round(end / unit)})
    return kept


def _copy_timecode(container: Any, source: VideoReader, stream: Any, shown: Span, rate: Fraction) -> None:
    """The timecode is that of the first picture: it is copied where the output begins with it."""
    tags = {key.lower(): (key, value) for key, value in [*source.metadata.items(), *stream.metadata.items()]}
    if "timecode" not in tags:
        return
    name, code = tags["timecode"]
    kept = (
        TIMECODE.fullmatch(code) and not shown.start and rate == source.rate and 1 <= round(rate) <= MOST_TIMECODE_FPS
    )
    if kept and (";" not in code or round(rate) % DROP_FRAME_RATE == 0):
        container.metadata["timecode"] = code
    else:
        container.metadata.pop(name, None)
        add_notice(source.findings, "timecode lost")
