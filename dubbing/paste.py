"""The crop that the network takes, and the generated mouth back into the picture.

The crop is the face's box, turned upright where the head is tilted. "box" pastes all of it, as published. "soft" pastes
mouth and chin through a mask that fades out inside the crop, its colours matched to the skin around.
"""

from functools import lru_cache
from typing import NamedTuple

import av
import cv2
import numpy as np

from face_detection.crop import NO_PADS, pad_and_clip, to_network_size
from media import yuv
from utils.geometry import Rect

STYLES = ("soft", "box")
# The soft mask, in parts of the crop: an ellipse around mouth and chin
CENTRE_X, CENTRE_Y = 0.5, 0.75
REACH_X, REACH_Y = 0.44, 0.25  # where it has faded out: the lower half, up to its edges
INNER = 0.62  # part of the reach inside which the mask is 1
SMOOTHNESS = 0.12  # of the colour match, standard deviation in parts of the crop
LARGEST_CHANGE = 30.0  # levels that the colour match may move


class FaceRegion(NamedTuple):
    """Where a face is: the rect of its upright crop, by how many degrees clockwise it is tilted in the picture, and how
    much of the new mouth to show, 0..1."""

    rect: Rect
    tilt: float = 0.0
    weight: float = 1.0


@lru_cache
def soft_mask(size: int) -> np.ndarray:
    """float32 [size, size], 0 in the upper part and towards the edges, 1 around the mouth."""
    rows, columns = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    distance = np.hypot((columns - CENTRE_X) / REACH_X, (rows - CENTRE_Y) / REACH_Y)
    faded = np.clip((1 - distance) / (1 - INNER), 0, 1)
    return faded * faded * (3 - 2 * faded)


@lru_cache
def mask_slope(size: int) -> np.ndarray:
    """Where generated and shown skin are compared: in the mask's slope; float32 [size, size]."""
    mask = soft_mask(size)
    return mask * (1 - mask)


def match_colours(generated: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The generated faces, uint8 BGR [B, S, S, 3], with the colours that `shown`, likewise of any size, has around the
    mouth.

    Their difference in the mask's slope is spread smoothly over the mouth (normalised convolution), at the size of
    `shown`.
    """
    size, full = shown.shape[1], generated.shape[1]
    weight = mask_slope(size)
    sigma = SMOOTHNESS * size
    spread_weight = cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-6
    matched = np.empty_like(generated)
    for n, (ours, theirs) in enumerate(zip(generated, shown, strict=True)):
        small = ours if full == size else cv2.resize(ours, (size, size), interpolation=cv2.INTER_AREA)
        difference = (theirs.astype(np.float32) - small) * weight[..., None]
        change = cv2.GaussianBlur(difference, (0, 0), sigma) / spread_weight[..., None]
        if full != size:
            change = cv2.resize(change, (full, full), interpolation=cv2.INTER_LINEAR)
        matched[n] = np.clip(np.rint(ours + np.clip(change, -LARGEST_CHANGE, LARGEST_CHANGE)), 0, 255)
    return matched


def blend(generated: np.ndarray, shown: np.ndarray, style: str) -> np.ndarray:
    """Faces as they will look in the picture, at the network's size: uint8 BGR [B, S, S, 3]."""
    if style == "box":
        return generated
    mask = soft_mask(generated.shape[1])[..., None]
    return np.rint(shown + mask * (generated.astype(np.float32) - shown)).astype(np.uint8)


def crop_face(picture: av.VideoFrame, region: FaceRegion, size: int) -> np.ndarray:
    """The upright crop as the network takes it, uint8 BGR [size, size, 3]."""
    if not region.tilt:
        return to_network_size(yuv.cut_bgr(picture, region.rect), size)
    outer = _bounding_rect(region, picture)
    width, height = region.rect.width, region.rect.height
    upright = cv2.warpAffine(
        yuv.cut_bgr(picture, outer), _rotation(region, outer), (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return to_network_size(upright, size)


def paste_face(
    picture: av.VideoFrame, region: FaceRegion, face: np.ndarray, style: str, visible: np.ndarray | None = None
) -> None:
    """Put a face, uint8 BGR [S, S, 3], into the picture, which changes only inside the mask, and there only where
    `visible`, float32 of any size, says that nothing covers the face."""
    picture.make_writable()
    width, height = region.rect.width, region.rect.height
    image = cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC if style == "soft" else cv2.INTER_LINEAR)
    mask = soft_mask(face.shape[0]) if style == "soft" else np.ones(face.shape[:2], np.float32)
    mask = cv2.resize(mask, (width, height)) * region.weight
    if visible is not None:
        mask *= cv2.resize(visible, (width, height))
    outer = region.rect
    if region.tilt:
        outer = _bounding_rect(region, picture)
        size = outer.width, outer.height
        image = cv2.warpAffine(image, _rotation(region, outer), size, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(mask, _rotation(region, outer), size)
    elif style == "soft":
        top = height // 2 - 1  # above there is no mask
        outer, image, mask = outer._replace(y1=outer.y1 + top), image[top:], mask[top:]
    yuv.blend_bgr(picture, outer, image, mask)


def _bounding_rect(region: FaceRegion, picture: av.VideoFrame) -> Rect:
    """The part of the picture in which the tilted crop lies."""
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
