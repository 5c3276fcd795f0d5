"""Decoded pictures in planar YUV, read and changed in small parts.

Converting whole frames to BGR and back costs time and changes every pixel; here only the part that is asked for is
converted, and all other values stay as they were to the bit.
"""

import re
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from utils.images import Rect

# swscale's quick default darkens every picture by two levels, each time it is converted
EXACT_COLOUR = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

FULL_RANGE, LIMITED_RANGE = 2, 1  # colour ranges of FFmpeg
UNSPECIFIED = 2  # as a matrix, primaries or transfer of ITU-T H.273
BT709, BT601, BT2020 = 1, 6, 9  # matrices; 1 and 9 also primaries
RESERVED, YCGCO, BY_PRIMARIES = 3, 8, 12  # matrices that FFmpeg's scaler does not know
UNKNOWN = {
    10: "BT.2020 of constant luminance", 11: "SMPTE ST 2085", 13: "constant luminance", 14: "ICtCp", 15: "IPT-C2",
    16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
SRGB = 13  # transfer
HD_LINES = 720  # from here on players take an untagged picture for BT.709, below for BT.601
_PLANAR = re.compile(r"yuvj?a?4(20|22|44)p")
ONE_THREAD = 1  # for small pictures, whose conversion takes less time than to start threads
COLOURLESS = 1.0  # levels of 255 by which colour varies at most in black-and-white footage; in colour it is 3 and more
BESIDE = 2  # pixels around a part from which its colour is interpolated, too


def bit_depth(frame: av.VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


@lru_cache
def has_alpha(pix_fmt: str) -> bool:
    known = av.VideoFormat(pix_fmt)
    return known.has_palette or any(component.is_alpha for component in known.components)


def tag_defaults(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame itself, its range and matrix and, of RGB, its primaries and transfer tagged as what players take them
    for."""
    if is_rgb(frame):
        primaries, transfer = frame.color_primaries, frame.color_trc
        frame.color_primaries = BT709 if primaries == UNSPECIFIED else primaries
        frame.color_trc = SRGB if transfer == UNSPECIFIED else transfer
        return frame
    if frame.color_range not in (FULL_RANGE, LIMITED_RANGE):
        frame.color_range = FULL_RANGE if frame.format.name.startswith("yuvj") else LIMITED_RANGE
    if frame.colorspace == RESERVED:
        frame.colorspace = UNSPECIFIED
    if frame.colorspace == BY_PRIMARIES:
        frame.colorspace = frame.color_primaries if frame.color_primaries in (BT601, BT2020) else BT709
    return frame


def usual_matrix(frame: av.VideoFrame) -> int:
    """The matrix that players take YUV of this size and these primaries for."""
    if frame.color_primaries == BT2020:
        return BT2020
    return BT709 if frame.height >= HD_LINES else BT601


def to_format(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """The frame in planar YUV `pix_fmt`, tagged as what it is; the frame itself where it is in it already. YUV keeps
    its matrix and range; RGB gets the usual matrix and limited range."""
    name = frame.format.name.replace("yuvj", "yuv")  # the same planes, marked as of full range
    if name == pix_fmt:
        return frame if name == frame.format.name else clone(frame)
    matrix, values = _matrix_and_range(frame)
    return _reformatted(frame, format=pix_fmt, dst_colorspace=matrix, dst_color_range=values)


def limited(frame: av.VideoFrame) -> av.VideoFrame:
    """A planar YUV frame in limited range; the frame itself where it is already."""
    if frame.color_range != FULL_RANGE:
        return frame
    new = _reformatted(frame, dst_color_range=LIMITED_RANGE)
    new.color_range = LIMITED_RANGE
    return new


def composite_over(frame: av.VideoFrame, background: tuple[int, int, int]) -> av.VideoFrame:
    """A frame with alpha composited over the background, red, green, blue in 0..255; the frame itself where all of it
    is opaque. Its alpha, which is straight, is to be ignored then."""
    if not has_alpha(frame.format.name):
        return frame
    planar = frame.format.name.startswith("yuva")
    result = frame if planar else to_format(frame, "yuva444p" if bit_depth(frame) == 8 else "yuva444p16le")
    alpha = planes(result)[3] / np.float32(2 ** bit_depth(result) - 1)
    if alpha.min() == 1:
        return frame
    image = np.full((frame.height, frame.width, 3), background[::-1], np.uint8)
    result = clone(result) if result is frame else result
    if result.colorspace == UNSPECIFIED:
        result.colorspace = usual_matrix(result)
    blend_bgr(result, Rect(0, 0, frame.width, frame.height), image, 1 - alpha)
    return result


def scaled(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    if (width, height) == (frame.width, frame.height):
        return frame
    return _reformatted(frame, width=width, height=height)


def rotate_crop(frame: av.VideoFrame, turns: int, part: Rect) -> av.VideoFrame:
    """Turned counterclockwise by quarter turns, then cut to the rect `part` of the turned picture.

    The part's left and top edges are moved to even pixels; odd sizes grow by one pixel, since colour has half as many
    samples.
    """
    part = _aligned(part)
    if turns % 4 == 0 and part == (0, 0, frame.width, frame.height):
        return frame
    name = frame.format.name
    if turns % 2 and "422" in name:  # turned, it would have half as many samples the other way
        full_colour = to_format(frame, name.replace("422", "444"))
        return to_format(rotate_crop(full_colour, turns, part), name)
    result = _blank_like(frame, part.width, part.height)
    for source, target in zip(planes(frame), planes(result), strict=True):
        across, down = part.width // target.shape[1], part.height // target.shape[0]
        piece = np.rot90(source, turns)[part.y1 // down : part.y2 // down, part.x1 // across : part.x2 // across]
        height, width = piece.shape
        target[:height, :width], target[:height, width:] = piece, piece[:, -1:]
        target[height:] = target[height - 1]
    return result


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of the frame's planes, uint8 or uint16 [rows, columns]; to be written to only after make_writable."""
    kind = np.uint8 if bit_depth(frame) == 8 else np.uint16
    views = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
        views.append(rows.view(kind)[:, : plane.width])
    return views


def to_bgr(frame: av.VideoFrame, exact: bool = True, threads: int | None = None) -> np.ndarray:
    """The whole picture, uint8 [H, W, 3]. exact=False is quicker, and two levels too dark; threads: None for as many as
    FFmpeg takes."""
    interpolation = EXACT_COLOUR if exact else None
    return frame.reformat(format="bgr24", interpolation=interpolation, threads=threads).to_ndarray()


def reduced_bgr(frame: av.VideoFrame, longest: int, by: VideoReformatter | None = None) -> tuple[np.ndarray, float]:
    """The whole picture in BGR, its longest side at most `longest`, and the factor it was scaled by; quickly. by: what
    reduces one picture of a video after another, in one thread: half of the time goes into setting it up."""
    scale = min(1.0, longest / max(frame.width, frame.height))
    width, height = round(frame.width * scale), round(frame.height * scale)
    by = by or VideoReformatter()
    return by.reformat(frame, width, height, format="bgr24", threads=ONE_THREAD).to_ndarray(), scale


def cut_bgr(frame: av.VideoFrame, rect: Rect) -> np.ndarray:
    """The part of the picture inside rect, BGR uint8 [h, w, 3]. Formats whose planes are not those of usual planar YUV
    are converted whole."""
    if not _PLANAR.match(frame.format.name):
        return to_bgr(frame)[rect.y1 : rect.y2, rect.x1 : rect.x2]
    left, top = max(0, rect.x1 - BESIDE), max(0, rect.y1 - BESIDE)
    outer = _aligned(Rect(left, top, min(frame.width, rect.x2 + BESIDE), min(frame.height, rect.y2 + BESIDE)))
    image = to_bgr(rotate_crop(frame, 0, outer), threads=ONE_THREAD)
    return image[rect.y1 - outer.y1 : rect.y2 - outer.y1, rect.x1 - outer.x1 : rect.x2 - outer.x1]


def luma(frame: av.VideoFrame, rect: Rect) -> np.ndarray:
    """Inside rect, float32 [h, w], black 0 and white 255."""
    part = planes(frame)[0][rect.y1 : rect.y2, rect.x1 : rect.x2] / np.float32(2 ** (bit_depth(frame) - 8))
    return part if frame.color_range == FULL_RANGE else (part - 16) * np.float32(255 / 219)


def colourfulness(frame: av.VideoFrame, rect: Rect) -> float:
    """0 where the picture inside rect is black and white, with the noise of a lossy codec; 1 where it has colours."""
    chroma = _parts(frame, _aligned(rect))[1:3]
    varies = max((float(part.std()) for part in chroma), default=0.0) / 2 ** (bit_depth(frame) - 8)
    return min(1.0, max(0.0, varies / COLOURLESS - 1))


def blend_bgr(frame: av.VideoFrame, rect: Rect, image: np.ndarray, mask: np.ndarray, colour: float = 1.0) -> None:
    """Put BGR uint8 [h, w, 3] into rect where mask, float32 [h, w], is 1; where it is 0 nothing changes. Alpha stays.
    colour: how much of the image's colour is taken, beside its brightness.

    The frame must be writable.
    """
    outer = _aligned(rect)
    margins = rect.y1 - outer.y1, outer.y2 - rect.y2, rect.x1 - outer.x1, outer.x2 - rect.x2
    padded: Any = cv2.copyMakeBorder(image, *margins, cv2.BORDER_REPLICATE)
    mask = cv2.copyMakeBorder(mask, *margins, cv2.BORDER_CONSTANT, value=0.0)
    new = av.VideoFrame.from_ndarray(padded, format="bgr24").reformat(
        format=frame.format.name, dst_colorspace=frame.colorspace, interpolation=EXACT_COLOUR, threads=ONE_THREAD,
        dst_color_range=FULL_RANGE if frame.color_range == FULL_RANGE else LIMITED_RANGE,
    )  # fmt: skip
    for target, source, share in zip(_parts(frame, outer)[:3], planes(new), (1.0, colour, colour), strict=False):
        height, width = target.shape
        weight = cv2.resize(mask * np.float32(share), source.shape[::-1], interpolation=cv2.INTER_AREA)[:height, :width]
        old = target.astype(np.float32)
        target[:] = np.rint(old + weight * (source[:height, :width] - old))


def from_bgr(image: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """A limited-range frame of BGR uint8 [H, W, 3]; odd sides grow by one pixel."""
    height, width = image.shape[:2]
    padded: Any = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return to_format(tag_defaults(av.VideoFrame.from_ndarray(padded, format="bgr24")), pix_fmt)


def _parts(frame: av.VideoFrame, rect: Rect) -> list[np.ndarray]:
    """The planes inside an aligned rect, views."""
    views = []
    for plane in planes(frame):
        across, down = -(-frame.width // plane.shape[1]), -(-frame.height // plane.shape[0])
        views.append(plane[rect.y1 // down : rect.y2 // down, rect.x1 // across : rect.x2 // across])
    return views


def _aligned(rect: Rect) -> Rect:
    """The smallest rect around this one whose edges are even."""
    return Rect(rect.x1 - rect.x1 % 2, rect.y1 - rect.y1 % 2, rect.x2 + rect.x2 % 2, rect.y2 + rect.y2 % 2)


def clone(frame: av.VideoFrame) -> av.VideoFrame:
    """With planes of its own, never marked as yuvj."""
    result = _blank_like(frame, frame.width, frame.height)
    for source, target in zip(planes(frame), planes(result), strict=True):
        target[:] = source
    return result


def _blank_like(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    return _tagged(av.VideoFrame(width, height, frame.format.name.replace("yuvj", "yuv")), frame)


def _reformatted(frame: av.VideoFrame, **how: Any) -> av.VideoFrame:
    return _tagged(frame.reformat(interpolation=EXACT_COLOUR, **how), frame)


def _tagged(new: av.VideoFrame, old: av.VideoFrame) -> av.VideoFrame:
    """A new planar YUV frame with the description of the one it was made of."""
    new.colorspace, new.color_range = _matrix_and_range(old)
    new.color_primaries, new.color_trc = old.color_primaries, old.color_trc
    return new


def _matrix_and_range(frame: av.VideoFrame) -> tuple[int, int]:
    """Of the same picture in planar YUV."""
    if is_rgb(frame):
        return usual_matrix(frame), LIMITED_RANGE
    return frame.colorspace, FULL_RANGE if frame.color_range == FULL_RANGE else LIMITED_RANGE
