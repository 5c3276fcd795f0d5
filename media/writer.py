"""Encoding: pictures with time stamps, the sound of another file, and what goes with the pictures, into one video."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import numpy as np

from media import codecs, dub_tag, yuv
from media.choices import CONTAINERS
from media.clock import Span
from media.extras import hand_on
from media.findings import note
from media.pictures import Still
from media.reader import VideoReader, naming, silence_ffmpeg
from media.sound import packets
from utils.errors import InputError
from utils.files import atomic_write

TIME_BASE = Fraction(1, 90_000)  # holds 24, 25, 30, 50, 60 fps exactly and any phone's time stamps closely

KEY_SECONDS = 5  # from key frame to key frame at most; fewer cost less
OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # not of what it shows


class VideoWriter:
    """Write a video as a context manager; it appears under its name only when the block ends without an error.

    rate: frames a second, a hint for the encoder; sound: any media file whose sound goes in, from time 0, its track
    sound_stream (None: the one that is heard) up to sound_seconds (None: whole); like: a source whose pixel shape,
    levels of light and metadata the result shall have; shown: seconds of a video `like`, from its zero, that the result
    begins with, whose chapters, subtitles and timecode go in; encoding: by default H.264; dubbed: tag it as a dub;
    part: where to write instead, for a caller that renames it. Odd widths and heights grow by one pixel, since 4:2:0
    has even ones only.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        sound: Path | None = None,
        like: VideoReader | Still | None = None,
        encoding: codecs.Encoding | None = None,
        sound_stream: int | None = None,
        sound_seconds: float | None = None,
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
            self._mux_others_until(float("inf"))
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
            note(self.like.findings, *([] if levels else ["HDR10 levels lost"]))
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
        self._container.metadata.update(dub_tag.with_tag(metadata) if self.dubbed else metadata)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"--codec {self.encoding.encoder}: cannot be used here ({error}); try --codec h264 and the default "
                "--crf and --preset"
            ) from error
        others = []
        if self._sound is not None:
            others.append(packets(self._container, self._sound, *self._sound_settings))
        if self.shown and isinstance(self.like, VideoReader):
            others.append(hand_on(self._container, self.like, self.shown, self.rate, self.path.suffix))
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
