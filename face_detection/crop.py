"""Boxes in pictures; face box -> the rectangle that is cut out and pasted back, and the crop at the networks' sizes."""

from functools import lru_cache

import cv2
import numpy as np

from utils.images import Rect

LONGEST_SIDE = 640  # pixels; larger frames are reduced before detection
NO_PADS = (0, 0, 0, 0)
MOUTH_CENTRE = (0.5, 0.75)  # of its ellipse, x and y in parts of the crop
MOUTH_TOP, MOUTH_BOTTOM, MOUTH_LEFT, MOUTH_RIGHT = 56 / 96, 92 / 96, 22 / 96, 74 / 96  # of its rectangle


def shrink(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """The image reduced so that its longest side is at most `longest`, and the factor it was scaled by (<= 1)."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image, 1.0
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def unscaled(boxes: np.ndarray, scale: float) -> np.ndarray:
    """Detections [N, 5 or more] in an image that was scaled by `scale`, in the pixels it had before."""
    factors = np.full(boxes.shape[1], scale, np.float32)
    factors[4] = 1  # the score
    return boxes / factors


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N, 4 or more] with boxes [M, 4 or more]: float32 [N, M]."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:4], theirs[None, :, 2:4])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def assigned(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int [min(N, M)] each, of the pairs that overlap most in sum; overlap: [N, M]."""
    if overlap.shape == (1, 1):
        return np.zeros(1, int), np.zeros(1, int)
    from scipy.optimize import linear_sum_assignment  # slow to import, and most videos show one face

    return linear_sum_assignment(-overlap)


def pad_and_clip(box: np.ndarray | tuple, pads: tuple[int, int, int, int], height: int, width: int) -> Rect:
    """The box (x1 y1 x2 y2) grown by pads (top, bottom, left, right pixels) and clipped to the frame."""
    x1, y1, x2, y2 = (int(v) for v in box)
    top, bottom, left, right = pads
    return Rect(max(0, x1 - left), max(0, y1 - top), min(width, x2 + right), min(height, y2 + bottom))


def crop(image: np.ndarray, rect: Rect) -> np.ndarray:
    """The part of BGR [H, W, 3] inside rect, a view."""
    return image[rect.y1 : rect.y2, rect.x1 : rect.x2]


def mouth_region(faces: np.ndarray) -> np.ndarray:
    """The rectangle of the mouth in face crops [N, S, S, 3], a view: [N, h, w, 3]."""
    height, width = faces.shape[1:3]
    rows = slice(round(MOUTH_TOP * height), round(MOUTH_BOTTOM * height))
    return faces[:, rows, round(MOUTH_LEFT * width) : round(MOUTH_RIGHT * width)]


@lru_cache
def mouth_mask(size: int, half_axes: tuple[float, float], inner: float, outer: float = 1.0) -> np.ndarray:
    """A soft ellipse around the mouth: float32 [size, size], 1 up to `inner` of its half axes (x and y, in parts of the
    crop), 0 from `outer` of them on."""
    rows, columns = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    distance = np.hypot((columns - MOUTH_CENTRE[0]) / half_axes[0], (rows - MOUTH_CENTRE[1]) / half_axes[1])
    faded = np.clip((outer - distance) / (outer - inner), 0, 1)
    return faded * faded * (3 - 2 * faded)


def to_network_size(face: np.ndarray, size: int) -> np.ndarray:
    """A face crop as the generator and the expert see it, in training and in a dub: uint8 [size, size, 3], resized as
    the published code does, which leaves aliasing."""
    return cv2.resize(face, (size, size))


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [h, w, 3] at another size: where it shrinks areas are averaged, so that nothing aliases; else bicubic."""
    shrinks = width <= picture.shape[1] and height <= picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
