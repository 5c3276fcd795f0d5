"""Still pictures: upright, in 8-bit RGB, in the colours of sRGB."""

import io
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from media import yuv
from media.clock import Clock
from media.codecs import HdrMetadata
from media.files import add_notice, open_picture, picture_count

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose files of several pictures are animations, not pages
LARGE, MOST_PIXELS = 89_000_000, 24_000_000  # of pictures that are read smaller, and as how large; 20 bytes a pixel
SAME_COLOUR = 2  # levels, by which profiles that all mean sRGB change a picture
EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {
    2: ["mirrored"], 3: ["rotated"], 4: ["mirrored"], 5: ["rotated", "mirrored"], 6: ["rotated"],
    7: ["rotated", "mirrored"], 8: ["rotated"],
}  # fmt: skip


class Still:
    """A picture, upright, in 8 bits, RGB, or RGBA where some of it is transparent, in the colours of sRGB. Otherwise as
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
        pixels = _eight_bits(_in_srgb(image, self.findings), times)
        kind = "rgb24" if pixels.shape[2] == 3 else "rgba"
        self.picture = yuv.tag_defaults(av.VideoFrame.from_ndarray(pixels, format=kind))
        self.pix_fmt, self.matrix = self.picture.format.name, yuv.usual_matrix(self.picture)
        self.width, self.height = self.picture.width, self.picture.height
        self.pixel_aspect, self.metadata = Fraction(1), dict[str, str]()
        self.hdr: HdrMetadata | None = None

    def pictures(
        self, since: float | None = None, seek: bool = True, entry: float | None = None
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
