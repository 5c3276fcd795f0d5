"""Videos, decoded through PyAV: frames with their own time stamps, progressive, upright, with colour tags; and still
pictures.

reader = VideoReader("talk.mkv")
for frame in reader.frames():            # decoded one by one, as often as asked
    frame.time, frame.image              # seconds on the file's clock, BGR uint8 [H, W, 3] upright
"""

import io
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import av
import cv2
import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from media import filters, yuv
from media.clock import TIME_JUMP, Clock, Span, packets, picture_stream, picture_streams, read_clock, sound_track
from media.codecs import HdrMetadata, hdr_metadata
from media.opening import add_notice, open_media, open_picture, picture_count
from utils.errors import InputError

Picture = TypeVar("Picture")

WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # decoders where FFmpeg's own pass over the alpha
EARLIER = 0.001  # seconds; time stamps are compared with this tolerance
MOST_B_FRAMES = 16  # in a row, by which times of decoding and showing differ; more are not to be had
BLACK = (0, 0, 0)  # behind what is transparent
EARLY_END = 0.5  # seconds; a file whose packets end this much before its declared length is cut short
DECLARES_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")  # elsewhere FFmpeg may only guess the length


ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose files of several pictures are animations, not pages
LARGE, MOST_PIXELS = 89_000_000, 24_000_000  # of pictures that are read smaller, and as how large; 20 bytes a pixel
SAME_COLOUR = 2  # levels, by which profiles that all mean sRGB change a picture
EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {
    2: ["mirrored"], 3: ["rotated"], 4: ["mirrored"], 5: ["rotated", "mirrored"], 6: ["rotated"],
    7: ["rotated", "mirrored"], 8: ["rotated"],
}  # fmt: skip


class Frame(NamedTuple, Generic[Picture]):
    time: float  # seconds on the file's clock
    image: Picture  # BGR uint8 [H, W, 3], upright, or as decoded


class VideoReader:
    """One video file.

    threads: decoding threads, 0 for as many as there are cores; deinterlace: "frame" or "field" for as many pictures as
    there are frames or fields, "off" for pictures as they are stored; video_stream: which of several videos in the
    file, from 0, None for the one that players show.
    Raises InputError when the file is missing, not a video, or none of its pictures can be decoded.
    """

    def __init__(
        self, path: str | Path, threads: int = 0, deinterlace: str = "frame", video_stream: int | None = None
    ) -> None:
        self.path, self.threads, self.deinterlace, self.video_stream = Path(path), threads, deinterlace, video_stream
        self.findings: list[str] = []  # what of the pictures had to be changed or is lost
        self.damaged_packets = 0  # that the latest pictures() could not decode and skipped
        with open_media(self.path) as container:
            stream = self._stream(container)
            self.has_sound = bool(container.streams.audio)
            self.duration = container.duration / av.time_base if container.duration else None  # seconds, if known
            self.metadata = dict(container.metadata)  # title and the like
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)  # frames a second on average
            self.frame_estimate = stream.frames or (round(self.duration * self.rate) if self.duration else None)
            self.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)  # of the upright picture
            self.margins = filters.hidden_margins(container, stream)
            self._read_first(next(map(yuv.tag_defaults, decode(container, stream)), None))
        with open_media(self.path) as container:
            clock = read_clock(container, sound_track(container, video_stream), video_stream)
        start = max(0.0, self.start - clock.zero)  # pictures of a cut stream cannot be decoded before its first key
        end = max(start, clock.picture.end if clock.picture else 0.0)
        self.clock = replace(clock, picture=Span(start, end))
        if clock.recordings > 1:  # FFmpeg counts only the last one
            self.duration, self.frame_estimate = end, round((end - start) * self.rate)

    def _read_first(self, first: Any) -> None:
        """What the first picture, if there is one, tells about all."""
        if first is None:
            raise InputError(f"{self.path}: none of its pictures can be decoded; it is damaged or truncated")
        if first.colorspace in yuv.UNKNOWN:
            kind = yuv.UNKNOWN[first.colorspace]
            raise InputError(f"{self.path}: has colours in {kind}, which is not read here; convert it to BT.709 first")
        add_notice(self.findings, *filters.orientation(first))
        self.hdr = hdr_metadata(first, self.findings)
        self.pix_fmt = first.format.name  # as pixels are stored
        self.matrix = yuv.usual_matrix(first)  # of colours that are not tagged
        self.start = first.time or 0.0  # seconds
        if first.interlaced_frame and self.deinterlace == "field":
            self.rate *= 2
            self.frame_estimate = self.frame_estimate and 2 * self.frame_estimate
        upright = next(filters.upright_frames([first], self.deinterlace, self.findings, margins=self.margins))
        self.height, self.width = upright.height, upright.width
        add_notice(self.findings, *([f"cropped to {self.width}x{self.height}"] if any(self.margins) else []))
        if filters.is_lying(filters.rotation_filters(first)):
            self.pixel_aspect = 1 / self.pixel_aspect

    def _stream(self, container: Any) -> Any:
        streams, stream = picture_streams(container), picture_stream(container, self.video_stream)
        self.videos = len(streams)
        if stream is None and streams:
            number = self.video_stream
            raise InputError(f"{self.path}: has no video stream {number}; it has {self.videos}, counted from 0")
        if stream is None and (tiles := len(container.streams.video)):
            advice = "save it as JPEG, or pip install pillow-heif"
            raise InputError(f"{self.path}: is a picture in {tiles} parts, as in HEIC; {advice}")
        if stream is None:
            raise InputError(f"{self.path}: has no pictures, or is truncated; give a whole video")
        if self.videos > 1 and self.video_stream is None:
            number = streams.index(stream)
            add_notice(self.findings, f"video stream {number} of {self.videos} shown (--video_stream chooses)")
        return stream

    def frames(self, exact: bool = True) -> Iterator[Frame[np.ndarray]]:
        """All frames from the first, each with its own time stamp, strictly increasing.

        exact=False converts the colours quickly, two levels too dark: for looking at frames, not for keeping them.
        Raises InputError when the file turns out to end early.
        """
        for time, picture in self.pictures():
            yield Frame(time, yuv.to_bgr(whole(picture), exact))

    def pictures(
        self, since: float | None = None, entry: float | None = None
    ) -> Generator[tuple[float, av.VideoFrame], None, None]:
        """Time stamps and pictures as frames() gives them, in the file's own format, with alpha where it has any.

        since: seconds on the file's clock at which they begin, with the picture that is shown then, found by seeking
        where the file allows it; entry: begin with the last key frame before this time, if it is not before `since`,
        which saves decoding what lies between.
        """
        if since is not None and self.clock.recordings == 1:
            wanted = since if entry is None else entry
            found, first = self._pictures(since, wanted), None
            with suppress(av.error.FFmpegError):
                first = next(found, None)
            if first is not None and first[0] <= max(wanted, self.start) + EARLIER:
                yield first
                yield from found
                return
        yield from self._pictures(since)

    def _pictures(
        self, since: float | None, entry: float | None = None
    ) -> Generator[tuple[float, av.VideoFrame], None, None]:
        """entry: where to seek to; None decodes all from the start."""
        with open_media(self.path) as container:
            stream = self._stream(container)
            stream.thread_type, stream.codec_context.thread_count = "AUTO", self.threads
            if entry is not None:
                container.seek(int((entry - EARLIER) * av.time_base))
            log = PacketLog()
            previous, shown = None, None  # shown: the latest picture before `since`
            decoded = (yuv.tag_defaults(picture) for picture in decode(container, stream, log))
            size = self.width, self.height
            for picture in filters.upright_frames(decoded, self.deinterlace, self.findings, size, self.margins):
                step = 1 / float(self.rate)
                time = picture.time if picture.time is not None else self.start if previous is None else previous + step
                if since is not None and time <= since + EARLIER:
                    shown = time, picture
                    continue
                if shown:
                    yield shown
                    previous, shown = shown[0], None
                if previous is not None and time <= previous:
                    time = previous + step / 10
                if previous is not None and time - previous > TIME_JUMP:
                    raise InputError(
                        f"{self.path}: time stamps jump from {previous:.1f} s to {time:.1f} s; remux the file first"
                    )
                self.damaged_packets = log.damaged
                yield time, picture
                previous = time
            if shown:
                yield shown
            self.damaged_packets = log.damaged
            declared = (container.start_time or 0) / av.time_base + (self.duration or 0)
            if container.format.name in DECLARES_LENGTH and log.end < declared - EARLY_END:
                raise InputError(
                    f"{self.path}: is truncated: {log.end:.1f} s of {declared:.1f} s are there; copy it again"
                )


class Still:
    """A picture, upright, in 8 bits, RGB, or RGBA where some of it is transparent, in the colours of sRGB; otherwise as
    a VideoReader of one frame."""

    rate, frame_estimate, start, clock = Fraction(25), 1, 0.0, Clock(0.0)

    def __init__(self, image: Image.Image) -> None:
        self.findings: list[str] = []
        add_notice(self.findings, *ORIENTATIONS.get(image.getexif().get(EXIF_ORIENTATION, 1), []))
        times = 1
        while image.width * image.height > MOST_PIXELS * times**2 and image.width * image.height > LARGE:
            times *= 2
        reduced = image.width // times, image.height // times
        if times > 1:
            add_notice(self.findings, "reduced to {}x{}".format(*reduced))
            image.draft(image.mode, reduced)  # JPEG is decoded at the smaller size
        times = image.width // reduced[0]
        ImageOps.exif_transpose(image, in_place=True)
        image = _in_srgb(image, self.findings)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = _rgb(image).reduce(times) if times > 1 else _rgb(image)
        pixels, kind = np.asarray(image), "rgb24"
        if pixels.shape[2] == 4:
            pixels, kind = (pixels, "rgba") if pixels[..., 3].min() < 255 else (pixels[..., :3], "rgb24")
        self.picture = yuv.tag_defaults(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind))
        self.pix_fmt, self.matrix = self.picture.format.name, yuv.usual_matrix(self.picture)
        self.width, self.height = self.picture.width, self.picture.height
        self.pixel_aspect, self.metadata = Fraction(1), dict[str, str]()
        self.hdr: HdrMetadata | None = None

    def pictures(
        self, since: float | None = None, entry: float | None = None
    ) -> Generator[tuple[float, av.VideoFrame], None, None]:
        yield 0.0, self.picture


def open_still(path: Path) -> Still | None:
    """The picture in a file; None where it is an animation, or no picture. Raises InputError for a damaged one."""
    with open_picture(path) as image:
        return None if image is None or (image.format in ANIMATED and picture_count(image) > 1) else Still(image)


def _in_srgb(image: Image.Image, findings: list[str]) -> Image.Image:
    """The colours that the picture's profile means; the picture itself where it has none, or one like that of sRGB."""
    if not image.info.get("icc_profile") or image.mode.startswith(("I", "F")):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if profile.profile.xcolor_space.strip() == "RGB":
            image = _rgb(image)
        kind = "RGBA" if image.mode == "RGBA" else "RGB"
        applied = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=kind)
    except (ImageCms.PyCMSError, OSError, ValueError):
        add_notice(findings, "colour profile not understood")
        return image
    assert applied is not None
    if np.asarray(ImageChops.difference(image.convert("RGB"), applied.convert("RGB"))).max() <= SAME_COLOUR:
        return image
    add_notice(findings, "colour profile applied")
    return applied


def _rgb(image: Image.Image) -> Image.Image:
    kind = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == kind else image.convert(kind)


def whole(picture: av.VideoFrame) -> av.VideoFrame:
    """A picture as VideoReader.frames() shows it: over black where it is transparent."""
    return yuv.composite_over(picture, BLACK)


def at_rate(
    frames: Iterable[tuple[float, Picture]], fps: float, start: float | None = None
) -> Iterator[Frame[Picture]]:
    """The same pictures at a constant rate: output n is the one nearest to its time, start + n/fps.

    frames: times and pictures; start: seconds on the file's clock, by default the time of the first picture."""
    n, step, begin = 0, 1.0 / fps, start or 0.0
    held: tuple[float, Picture] | None = None
    for frame in chain(frames, [None]):
        if held:
            step = frame[0] - held[0] if frame else step
            while begin + n / fps < held[0] + step / 2:
                yield Frame(begin + n / fps, held[1])
                n += 1
        elif frame and start is None:
            begin = frame[0]
        held = frame


def read_image(path: str | Path) -> np.ndarray:
    """A picture file that this project wrote, as BGR uint8 [H, W, 3]."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise InputError(f"{path}: is no picture that can be read")
    return image


@dataclass
class PacketLog:
    end: float = 0.0  # seconds at which the packets seen so far end, of all streams
    damaged: int = 0  # packets that could not be decoded


def decode(container: Any, stream: Any, log: PacketLog | None = None) -> Iterator[Any]:
    """Decoded frames of one stream. A packet that cannot be decoded is skipped, as every player does.

    With a log the packets of all streams are noted in it.
    """
    decoder = _decoder(stream)
    decoded = _decoded(container, stream, decoder, log or PacketLog(), [stream] if log is None else container.streams)
    return in_order(decoded, decoder) if container.format.name == "avi" and stream.type == "video" else decoded


def _decoded(container: Any, stream: Any, decoder: Any, log: PacketLog, streams: Iterable[Any]) -> Iterator[Any]:
    with suppress(av.error.FFmpegError):  # the container itself is broken from here on; pictures() checks the length
        for packet in packets(container, *streams):
            if packet.pts is not None:
                log.end = max(log.end, (packet.pts + (packet.duration or 0)) * float(packet.time_base))
            if packet.stream is stream:  # packets that flush a decoder carry no index
                damaged = stream.type == "audio" and packet.is_corrupt
                try:
                    yield from decoder.decode(packet)
                except av.error.FFmpegError:
                    damaged = True
                log.damaged += damaged


def in_order(pictures: Iterable[Any], decoder: Any) -> Iterator[Any]:
    """Pictures that are stamped with the time of decoding, with the times at which they are shown: the same, in
    ascending order."""
    held, times = deque[Any](), list[int]()
    for picture in chain(pictures, [None]):
        if picture is not None and picture.pts is None:
            yield picture
            continue
        if picture is not None:
            held.append(picture)
            heappush(times, picture.pts)
        while len(held) > (MOST_B_FRAMES if picture is not None and decoder.has_b_frames else 0):
            held[0].pts = heappop(times)
            yield held.popleft()


def _decoder(stream: Any) -> Any:
    usual = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or usual.name not in WITH_ALPHA:
        return usual
    decoder = av.CodecContext.create(WITH_ALPHA[usual.name], "r")
    decoder.thread_count = usual.thread_count
    return decoder
