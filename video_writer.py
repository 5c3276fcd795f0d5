"""Encoding: pictures with time stamps, and the sound of another file, into one video."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import encoders
import planar
import sound_track
from cli import InputError
from video import VideoReader, silence_ffmpeg

TIME_BASE = Fraction(1, 90_000)  # holds 24, 25, 30, 50, 60 fps exactly and any phone's time stamps closely

OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # not of what it shows


class VideoWriter:
    """Write a video as a context manager; it appears under its name only when the block ends without an error.

    rate: frames a second, a hint for the encoder; sound: any media file whose sound goes in, from time 0, its track
    sound_stream (None: the best one) up to sound_seconds (None: whole); like: a source whose colour tags, pixel shape
    and metadata the result shall have; encoding: by default H.264. Odd widths and heights grow by one pixel, since
    4:2:0 has even ones only.
    """

    def __init__(self, path: Path, rate: Fraction, sound: Path | None = None, like: VideoReader | None = None,
                 encoding: encoders.Encoding | None = None, sound_stream: int | None = None,
                 sound_seconds: float | None = None):  # fmt: skip
        self.encoding = encoding or encoders.choose("auto", path.suffix)
        self.path, self.part = path, path.with_name(f"{path.stem}.part{path.suffix}")
        self.rate, self.like, self.sound = rate, like, (sound, path.suffix, sound_stream, sound_seconds)
        self.video = None
        self.last_pts = -1

    def __enter__(self):
        silence_ffmpeg()
        os.environ.setdefault("SVT_LOG", "1")  # errors only; that encoder asks nobody else
        try:
            flags = {"movflags": "+faststart"} if self.path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
            self.container = av.open(str(self.part.absolute()), "w", options=flags)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another --outfile") from error
        self.sound_packets = iter(())
        self.sound_time = 0.0
        return self

    def write(self, image: np.ndarray, time: float) -> None:
        """image: BGR uint8 [H, W, 3]; time: seconds from the start of the video, increasing."""
        colorspace = planar.UNSPECIFIED if self.like is None else self.like.tags["colorspace"]
        self.write_picture(planar.from_bgr(image, self.encoding.pix_fmt, colorspace), time)

    def write_picture(self, picture: av.VideoFrame, time: float) -> None:
        """picture: planar YUV in the encoding's format, of even sides."""
        if self.video is None:
            self._add_streams(picture)
        picture.pts = self.last_pts = max(self.last_pts + 1, round(time / TIME_BASE))
        picture.time_base, picture.pict_type = TIME_BASE, av.video.frame.PictureType.NONE
        picture.duration = round(1 / (self.rate * TIME_BASE))
        self.container.mux(self.video.encode(picture))
        self._sound_up_to(time)

    def __exit__(self, error_type, error, traceback):
        try:
            if error_type is None:
                self.container.mux(self.video.encode(None))
                self._sound_up_to(float("inf"))
                self.container.close()
                os.replace(self.part, self.path)
        finally:
            self.sound_packets = None  # closes the sound file
            try:
                self.container.close()  # writes what is left, and fails again when the disk is full
            finally:
                self.part.unlink(missing_ok=True)

    def _add_streams(self, picture: av.VideoFrame) -> None:
        self.video = self.container.add_stream(self.encoding.encoder, rate=self.rate, options=self.encoding.options)
        self.video.height, self.video.width = picture.height, picture.width
        self.video.pix_fmt = self.encoding.pix_fmt
        context = self.video.codec_context
        context.time_base = TIME_BASE
        context.color_range = picture.color_range
        if self.encoding.tag:
            context.codec_tag = self.encoding.tag
        if self.like is not None:
            context.colorspace = picture.colorspace
            context.color_primaries = self.like.tags["color_primaries"]
            context.color_trc = self.like.tags["color_trc"]
            context.sample_aspect_ratio = self.like.pixel_aspect
            metadata = {key: value for key, value in self.like.metadata.items() if key not in OF_THE_FILE}
            self.container.metadata.update(metadata)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"--codec {self.encoding.encoder}: cannot be used here ({error}); try --codec h264 and the default "
                "--crf and --preset"
            ) from error
        path, *wanted = self.sound
        if path is not None:
            self.sound_packets = sound_track.packets(self.container, path, *wanted)
            self._sound_up_to(0.0)

    def _sound_up_to(self, time: float) -> None:
        """Mux the sound along with the picture, so that neither waits in memory for the other."""
        while self.sound_time <= time:
            packet = next(self.sound_packets, None)
            if packet is None:
                return
            if packet.pts is not None:
                self.sound_time = float(packet.pts * packet.time_base)
            self.container.mux(packet)
