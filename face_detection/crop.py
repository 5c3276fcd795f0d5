"""Face box -> the rectangle that is cut out and pasted back, and the crop at the networks' size."""

import cv2
import numpy as np

from utils.geometry import Rect

NO_PADS = (0, 0, 0, 0)


def pad_and_clip(box: np.ndarray | tuple, pads: tuple[int, int, int, int], height: int, width: int) -> Rect:
    """The box (x1 y1 x2 y2) grown by pads (top, bottom, left, right pixels) and clipped to the frame."""
    x1, y1, x2, y2 = (int(v) for v in box)
    top, bottom, left, right = pads
    return Rect(max(0, x1 - left), max(0, y1 - top), min(width, x2 + right), min(height, y2 + bottom))


def crop(image: np.ndarray, rect: Rect) -> np.ndarray:
    """The part of BGR [H, W, 3] inside rect, a view."""
    return image[rect.y1 : rect.y2, rect.x1 : rect.x2]


def to_network_size(face: np.ndarray, size: int) -> np.ndarray:
    """A face crop resized to size x size, uint8, as training and inference both see it."""
    return cv2.resize(face, (size, size))
