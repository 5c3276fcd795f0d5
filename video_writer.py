"""Encoding: frames with time stamps and the sound of another file into one video, H.264 + AAC."""

import os
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np

from cli import InputError
from video import EXACT_COLOUR, VideoReader, decode, open_media, silence_ffmpeg, sound_stream

SUFFIXES = (".mp4", ".mov", ".mkv", ".m4v")
TIME_BASE = Fraction(1, 90_000)  # holds 24, 25, 30, 50, 60 fps exactly and any phone's time stamps closely
UNSPECIFIED = 2  # colour tag of ITU-T H.273: not known
LIMITED_RANGE = 1
AAC_MAX_RATE, AAC_BIT_RATE = 48_000, 192_000
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; other counts are mixed down to stereo


class VideoWriter:
    """Write a video as a context manager; it appears under its name only when the block ends without an error.

    path: .mp4, .mov, .m4v or .mkv; rate: frames a second, a hint for the encoder; sound: any media file whose first
    sound track goes in whole, from time 0; like: a source whose colour tags and pixel shape the result shall have.
    Odd widths and heights grow by one pixel, since H.264 4:2:0 has even ones only.
    """

    def __init__(self, path: Path, rate: Fraction, sound: Path | None = None, like: VideoReader | None = None,
                 crf: int = 18, preset: str = "veryfast"):  # fmt: skip
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(SUFFIXES)}"
            )
        self.path, self.part = path, path.with_name(f"{path.stem}.part{path.suffix}")
        self.rate, self.like, self.sound_path = rate, like, sound
        self.options = {"crf": str(crf), "preset": preset}
        self.colorspace = UNSPECIFIED if like is None else like.tags["colorspace"]
        self.video = None
        self.last_pts = -1

    def __enter__(self):
        silence_ffmpeg()
        try:
            flags = {"movflags": "+faststart"} if self.path.suffix.lower() != ".mkv" else {}
            self.container = av.open(str(self.part.absolute()), "w", options=flags)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another --outfile") from error
        self.sound_packets = iter(())
        self.sound_time = 0.0
        return self

    def write(self, image: np.ndarray, time: float) -> None:
        """image: BGR uint8 [H, W, 3]; time: seconds from the start of the video, increasing."""
        image = _even(image)
        if self.video is None:
            self._add_streams(*image.shape[:2])
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(
            format="yuv420p",
            dst_colorspace=self.colorspace,
            dst_color_range=LIMITED_RANGE,
            interpolation=EXACT_COLOUR,
        )
        frame.pts = self.last_pts = max(self.last_pts + 1, round(time / TIME_BASE))
        frame.time_base = TIME_BASE
        self.container.mux(self.video.encode(frame))
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

    def _add_streams(self, height: int, width: int) -> None:
        self.video = self.container.add_stream("libx264", rate=self.rate, options=self.options)
        self.video.height, self.video.width, self.video.pix_fmt = height, width, "yuv420p"
        context = self.video.codec_context
        context.time_base = TIME_BASE
        context.color_range = LIMITED_RANGE
        if self.like is not None:
            context.colorspace = self.like.tags["colorspace"]
            context.color_primaries = self.like.tags["color_primaries"]
            context.color_trc = self.like.tags["color_trc"]
            context.sample_aspect_ratio = self.like.pixel_aspect
        if self.sound_path is not None:
            self.sound_packets = self._encode_sound(self.sound_path)
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

    def _encode_sound(self, path: Path):
        with open_media(path) as source:
            track = sound_stream(source, path)
            rate = min(track.rate, AAC_MAX_RATE)
            layout = DEFAULT_LAYOUTS.get(track.channels, "stereo")
            out = self.container.add_stream("aac", rate=rate, layout=layout)
            out.bit_rate = AAC_BIT_RATE
            resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
            samples = 0
            for decoded in chain(decode(source, track), [None]):
                for frame in resampler.resample(decoded):
                    frame.pts, frame.time_base = samples, Fraction(1, rate)
                    samples += frame.samples
                    yield from out.encode(frame)
            yield from out.encode(None)


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
