"""Picture files: what is a still, upright and in 8-bit RGB; what moves, for FFmpeg."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps

from media import yuv
from media.findings import note
from media.hdr import HdrMetadata
from utils.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")  # of Pillow; of others it only knows the name
MOVING = ("GIF", "PNG", "WEBP", "AVIF")  # several pictures are an animation; elsewhere pages, or a preview
NOT_FFMPEG = ("WEBP", "AVIF")  # animations that FFmpeg cannot read, or without their alpha
EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {
    2: ["mirrored"], 3: ["rotated"], 4: ["mirrored"], 5: ["rotated", "mirrored"], 6: ["rotated"],
    7: ["rotated", "mirrored"], 8: ["rotated"],
}  # fmt: skip


class Still:
    """A picture, upright, in 8 bits: RGB, or RGBA where some of it is transparent. The rest is as of a VideoReader."""

    def __init__(self, image: Image.Image) -> None:
        self.findings: list[str] = []
        note(self.findings, *ORIENTATIONS.get(image.getexif().get(EXIF_ORIENTATION, 1), []))
        pixels = _eight_bits(ImageOps.exif_transpose(image))
        kind = "rgb24" if pixels.shape[2] == 3 else "rgba"
        self.picture = yuv.described(av.VideoFrame.from_ndarray(pixels, format=kind))
        self.pix_fmt, self.matrix = self.picture.format.name, yuv.usual_matrix(self.picture)
        self.width, self.height = self.picture.width, self.picture.height
        self.pixel_aspect, self.metadata = Fraction(1), dict[str, str]()
        self.hdr: HdrMetadata | None = None


def open_still(path: Path) -> Still | None:
    """The picture in a file; None where it is an animation, or no picture. Raises InputError for a damaged one."""
    with _opened(path) as image:
        if image is None or (image.format in MOVING and _count(image) > 1):
            return None
        try:
            return Still(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: is damaged or truncated ({error}); save the picture again") from error


def readable_by_ffmpeg(path: Path) -> str | io.BytesIO:
    """The file's name; of an animation that FFmpeg cannot read, the same pictures and times as animated PNG."""
    with _opened(path) as image:
        if image is None or image.format not in NOT_FFMPEG or _count(image) == 1:
            return str(path.resolve())
    return io.BytesIO(_animated_png(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=1)  # a video is opened several times
def _animated_png(path: Path, modified: int) -> bytes:
    with Image.open(path) as image:
        durations = []
        for number in range(_count(image)):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
        image.seek(0)
        content = io.BytesIO()
        image.save(content, "PNG", save_all=True, duration=durations, compress_level=1)
        return content.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image | None]:
    """A picture file of one of FORMATS, not decoded yet; None for any other."""
    try:
        image = Image.open(path, formats=FORMATS) if path.is_file() else None
    except Image.UnidentifiedImageError:
        image = None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large a picture; scale it down") from error
    with image or nullcontext() as opened:
        yield opened


def _count(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1)


def _eight_bits(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3], or [H, W, 4] with straight alpha where some of it is transparent."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    opaque = pixels.shape[2] == 3 or pixels[..., 3].min() == 255
    return np.ascontiguousarray(pixels[..., :3]) if opaque else pixels
