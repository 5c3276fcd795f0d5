"""The crop that the network takes, and the new mouth back into the picture.

The crop is the face's box, turned upright where the head is tilted. "box" pastes all of it, as published. "soft" pastes
mouth and chin through a mask that fades out inside the crop, its colours matched to the skin around. A mouth
from another moment of the video gets the grain of the picture, which warping takes away.
"""

from functools import lru_cache
from typing import NamedTuple

import av
import cv2
import numpy as np

from face_detection.crop import NO_PADS, mouth_mask, pad_and_clip, resized
from media import yuv
from utils.images import Rect

# The soft mask, in parts of the crop: an ellipse around mouth and chin
REACH = (0.44, 0.25)  # where it has faded out: the lower half, up to its edges
INNER = 0.62  # part of the reach inside which the mask is 1
SLOPE = 0.1  # of mask_slope, from which on grain is compared
SMOOTHNESS = 0.12  # of the colour match, standard deviation in parts of the crop
LARGEST_CHANGE = 30.0  # levels that the colour match may move
# Middle half of a Laplacian's absolute values, their mean -> standard deviation of white noise
TO_SIGMA = 1 / (0.693 * 20**0.5)
MOST_GRAIN = 8.0  # levels
LABEL, LABEL_HEIGHT, LABEL_OPACITY = "AI-dubbed", 1 / 20, 0.8  # its height in parts of the picture's


class FaceRegion(NamedTuple):
    """Where a face is in a frame."""

    rect: Rect  # of its upright crop
    tilt: float = 0.0  # degrees clockwise, in the picture
    opacity: float = 1.0  # how much of the new mouth to show, 0..1
    interpolated: bool = False  # whether it lies between detections


def add_label(picture: av.VideoFrame) -> None:
    """Write LABEL into the lower left corner, white on black."""
    height = max(12, round(picture.height * LABEL_HEIGHT))
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, height // 2)
    (width, _), _ = cv2.getTextSize(LABEL, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    image = np.zeros((height, min(width + height, picture.width), 3), np.uint8)
    place = height // 2, round(0.75 * height)
    cv2.putText(image, LABEL, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    rect = Rect(0, picture.height - height, image.shape[1], picture.height)
    yuv.blend_bgr(picture, rect, image, np.full(image.shape[:2], LABEL_OPACITY, np.float32))


def soft_mask(size: int) -> np.ndarray:
    """float32 [size, size], 0 in the upper part and towards the edges, 1 around the mouth."""
    return mouth_mask(size, REACH, INNER)


@lru_cache
def mask_slope(size: int) -> np.ndarray:
    """Where generated and shown skin are compared: in the mask's slope; float32 [size, size]."""
    mask = soft_mask(size)
    return mask * (1 - mask)


def match_colours(generated: np.ndarray, source_face: np.ndarray) -> np.ndarray:
    """The generated face, uint8 BGR [h, w, 3], with the colours that `source_face`, uint8 BGR [S, S, 3], has around
    the mouth.

    Their difference in the mask's slope is spread smoothly over the mouth (normalised convolution), at the size of
    `source_face`.
    """
    size, (height, width) = len(source_face), generated.shape[:2]
    weight, sigma = mask_slope(size), SMOOTHNESS * size
    small = resized(generated, size, size)
    difference = (source_face.astype(np.float32) - small) * weight[..., None]
    spread = cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-6
    change = cv2.GaussianBlur(difference, (0, 0), sigma) / spread[..., None]
    change = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
    matched = np.rint(generated + np.clip(change, -LARGEST_CHANGE, LARGEST_CHANGE))
    return np.clip(matched, 0, 255).astype(np.uint8)


def blend(generated: np.ndarray, source_face: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The face as it will look in the picture, at the mask's size: uint8 BGR [S, S, 3]."""
    size = len(mask)
    small = resized(generated, size, size)
    return np.rint(source_face + mask[..., None] * (small.astype(np.float32) - source_face)).astype(np.uint8)


def upright_crop(picture: av.VideoFrame, region: FaceRegion) -> np.ndarray:
    """The crop in the picture's own pixels, uint8 BGR [h, w, 3]."""
    if not region.tilt:
        return yuv.cut_bgr(picture, region.rect)
    outer = _outer_rect(region, picture)
    return cv2.warpAffine(
        yuv.cut_bgr(picture, outer), _rotation(region, outer), (region.rect.width, region.rect.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def paste_face(
    picture: av.VideoFrame,
    region: FaceRegion,
    face: np.ndarray,
    mask: np.ndarray,
    style: str,
    own: float = 0.0,
    number: int = 0,
) -> None:
    """Put a face, uint8 BGR [h, w, 3], into the picture, which changes only where the mask, float32 of any size, is
    above 0, and in brightness alone where it is black and white.

    own: how much of the face comes from other moments of the video, 0..1; it is given so much of the grain that it
    lacks, which follows from the frame's number. The face is resized as the published code does in "box", and bicubic
    in "soft", also where that shrinks it: a face of 96 pixels has little to alias, and own mouths have their size.
    """
    picture.make_writable()
    rect, outer = region.rect, _outer_rect(region, picture)
    size = rect.width, rect.height
    image = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC if style == "soft" else cv2.INTER_LINEAR)
    image = _turned(image, region, outer, cv2.BORDER_REPLICATE)
    weight = _turned(cv2.resize(mask, size), region, outer, cv2.BORDER_CONSTANT)
    if own:
        around = _turned(cv2.resize(mask_slope(len(mask)), size), region, outer, cv2.BORDER_CONSTANT) > SLOPE
        image = match_grain(image, yuv.luma(picture, outer), around, own, number)
    top = rect.height // 2 - 1 if style == "soft" and not region.tilt else 0  # above there is no mask
    colour = yuv.colourfulness(picture, outer)
    yuv.blend_bgr(picture, outer._replace(y1=outer.y1 + top), image[top:], weight[top:], colour)


def _turned(upright: np.ndarray, region: FaceRegion, outer: Rect, border: int) -> np.ndarray:
    """What was made for the upright crop, in the pixels of `outer`."""
    if not region.tilt:
        return upright
    return cv2.warpAffine(upright, _rotation(region, outer), (outer.width, outer.height), borderMode=border)


def _outer_rect(region: FaceRegion, picture: av.VideoFrame) -> Rect:
    """The part of the picture in which the crop lies, tilted as it is."""
    if not region.tilt:
        return region.rect
    x1, y1, x2, y2 = region.rect
    radius = np.hypot(x2 - x1, y2 - y1) / 2
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    box = middle_x - radius, middle_y - radius, middle_x + radius, middle_y + radius
    return pad_and_clip(box, NO_PADS, picture.height, picture.width)


def _rotation(region: FaceRegion, outer: Rect) -> np.ndarray:
    """Pixels of the upright crop -> pixels of `outer`: an affine matrix [2, 3]."""
    x1, y1, x2, y2 = region.rect
    middle_x, middle_y = (x2 - x1 - 1) / 2, (y2 - y1 - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle_x, middle_y), -region.tilt, 1.0)
    matrix[:, 2] += (x1 - outer.x1, y1 - outer.y1)
    return matrix


def match_grain(image: np.ndarray, below: np.ndarray, around: np.ndarray, share: float, number: int) -> np.ndarray:
    """The image, uint8 BGR [h, w, 3], with as much noise as the picture that it is put into, where it has less.

    below: that picture's luma, float32 [h, w], pixel for pixel, since noise changes with every resize; around: bool
    [h, w], where both are compared; share: how much of what is missing is added, 0..1; number: of the frame, from which
    the noise follows.
    """
    missing = noise(below, around) ** 2 - noise(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), around) ** 2
    if missing <= 0:
        return image
    grain = np.random.default_rng(number).standard_normal(image.shape[:2], np.float32)
    return np.clip(np.rint(image + grain[..., None] * share * min(missing**0.5, MOST_GRAIN)), 0, 255).astype(np.uint8)


def noise(luma: np.ndarray, around: np.ndarray) -> float:
    """Standard deviation of the noise, in levels (after Immerkaer, 1996, but by the middle half, which lines hardly
    change).

    luma: uint8 or float32 [h, w]; around: bool [h, w].
    """
    laplacian = np.abs(cv2.Laplacian(luma, cv2.CV_32F)[around])
    first = len(laplacian) // 4
    if not len(laplacian):
        return 0.0
    middle = np.partition(laplacian, (first, len(laplacian) - 1 - first))[first : len(laplacian) - first]
    return float(middle.mean()) * TO_SIGMA
