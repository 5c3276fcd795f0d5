"""Picture files: what is a still, upright and in 8-bit RGB; what moves, for FFmpeg."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from media import yuv
from media.findings import note
from media.hdr import HdrMetadata
from utils.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")  # of Pillow; of others it only knows the name
MOVING = ("GIF", "PNG", "WEBP", "AVIF")  # several pictures are an animation; elsewhere pages, or a preview
NOT_FFMPEG = ("WEBP", "AVIF")  # animations that FFmpeg cannot read, or without their alpha
DAMAGE = (  # what Pillow raises for files that are not right
    OSError, SyntaxError, ValueError, RuntimeError, IndexError, KeyError, TypeError, EOFError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
LARGE, MOST_PIXELS = 89_000_000, 24_000_000  # of pictures that are read smaller, and as how large; 20 bytes a pixel
SAME_COLOUR = 2  # levels; by so much differ profiles that all mean sRGB
EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {
    2: ["mirrored"], 3: ["rotated"], 4: ["mirrored"], 5: ["rotated", "mirrored"], 6: ["rotated"],
    7: ["rotated", "mirrored"], 8: ["rotated"],
}  # fmt: skip


class Still:
    """A picture, upright, in 8 bits, RGB, or RGBA where some of it is transparent, in the colours of sRGB. The rest is
    as of a VideoReader."""

    def __init__(self, image: Image.Image) -> None:
        self.findings: list[str] = []
        note(self.findings, *ORIENTATIONS.get(image.getexif().get(EXIF_ORIENTATION, 1), []))
        times = 1
        while image.width * image.height > MOST_PIXELS * times**2 and image.width * image.height > LARGE:
            times *= 2
        reduced = image.width // times, image.height // times
        if times > 1:
            note(self.findings, "reduced to {}x{}".format(*reduced))
            image.draft(image.mode, reduced)  # JPEG is decoded at the smaller size
        times = image.width // reduced[0]
        ImageOps.exif_transpose(image, in_place=True)
        pixels = _eight_bits(_in_srgb(image, self.findings), times)
        kind = "rgb24" if pixels.shape[2] == 3 else "rgba"
        self.picture = yuv.described(av.VideoFrame.from_ndarray(pixels, format=kind))
        self.pix_fmt, self.matrix = self.picture.format.name, yuv.usual_matrix(self.picture)
        self.width, self.height = self.picture.width, self.picture.height
        self.pixel_aspect, self.metadata = Fraction(1), dict[str, str]()
        self.hdr: HdrMetadata | None = None


def open_still(path: Path) -> Still | None:
    """The picture in a file; None where it is an animation, or no picture. Raises InputError for a damaged one."""
    with _opened(path) as image:
        return None if image is None or (image.format in MOVING and _count(image) > 1) else Still(image)


def readable_by_ffmpeg(path: Path) -> str | io.BytesIO:
    """The file's name; of an animation that FFmpeg cannot read, the same pictures and times as animated PNG."""
    with _opened(path) as image:
        if image is None or image.format not in NOT_FFMPEG or _count(image) == 1:
            return str(path.resolve())
    return io.BytesIO(_animated_png(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=1)  # a video is opened several times
def _animated_png(path: Path, modified: int) -> bytes:
    with _opened(path) as image:
        assert image is not None
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
    """A picture file of one of FORMATS, not decoded yet; None for any other. Raises InputError for what goes wrong with
    it, also later."""
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(path, formats=_formats()) if path.is_file() else None
    except Image.UnidentifiedImageError:
        image = None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large a picture; scale it down") from error
    except DAMAGE as error:
        raise _damaged(path, error) from error
    try:
        with image or nullcontext() as opened:
            yield opened
    except DAMAGE as error:
        raise _damaged(path, error) from error


@lru_cache
def _formats() -> tuple[str, ...]:
    """HEIC, too, where the package for it is installed; without it FFmpeg reads those of one part."""
    if find_spec("pillow_heif") is None:
        return FORMATS
    import_module("pillow_heif").register_heif_opener()
    return (*FORMATS, "HEIF")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: is damaged or truncated ({error}); save the picture again")


def _count(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1)


def _in_srgb(image: Image.Image, findings: list[str]) -> Image.Image:
    """The colours that the picture's profile means; the picture itself where it has none, or one like that of sRGB."""
    if not image.info.get("icc_profile") or image.mode.startswith(("I", "F")):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if profile.profile.xcolor_space.strip() == "RGB":
            image = _rgb(image)
        kind = "RGBA" if image.mode == "RGBA" else "RGB"
        to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, kind)
        across, around = Image.linear_gradient("L"), Image.radial_gradient("L")
        bands = [across, across.transpose(Image.Transpose.ROTATE_90), around, across][: len(image.getbands())]
        probe = Image.merge(image.mode, bands)
        changed = ImageChops.difference(probe.convert("RGB"), to_srgb.apply(probe).convert("RGB"))
        if np.asarray(changed).max() <= SAME_COLOUR:
            return image
        image = to_srgb.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError):
        note(findings, "colour profile not understood")
        return image
    note(findings, "colour profile applied")
    return image


def _eight_bits(image: Image.Image, times: int) -> np.ndarray:
    """uint8 [H, W, 3], or [H, W, 4] with straight alpha where some of it is transparent; its sides divided."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = _rgb(image)
    pixels = np.asarray(image.reduce(times) if times > 1 else image)
    opaque = pixels.shape[2] == 3 or pixels[..., 3].min() == 255
    return np.ascontiguousarray(pixels[..., :3]) if opaque else pixels


def _rgb(image: Image.Image) -> Image.Image:
    kind = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == kind else image.convert(kind)
