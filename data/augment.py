"""Changes to training pictures that leave lips and speech in sync: mirrored, moved a little, other light and colour.

All frames of a window, and its reference, are changed in the same way.
"""

import cv2
import numpy as np

SHIFT = 4  # pixels that the face may move, as a box does that is not quite right
CONTRAST = 0.15  # part of its mid grey that the picture's contrast changes by at most
BRIGHTNESS = 20.0  # levels of 255
COLOUR = 0.08  # part that each channel's gain changes by at most


def augment(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """frames: uint8 BGR [N, S, S, 3] -> the same shape; shifted by whole pixels, so nothing is blurred."""
    S = frames.shape[1]
    x, y = (int(d) for d in rng.integers(0, 2 * SHIFT + 1, 2))
    mirrored = rng.integers(2)
    moved = np.empty_like(frames)
    for face, out in zip(frames, moved, strict=True):
        wide = cv2.copyMakeBorder(face, SHIFT, SHIFT, SHIFT, SHIFT, cv2.BORDER_REPLICATE)
        shifted = wide[y : y + S, x : x + S]
        out[:] = cv2.flip(shifted, 1) if mirrored else shifted
    return cv2.LUT(moved.reshape(-1, S, 3), random_levels(rng)).reshape(moved.shape)


def random_levels(rng: np.random.Generator) -> np.ndarray:
    """For every level and channel the level it becomes: uint8 [1, 256, 3]."""
    gain = 1 + rng.uniform(-CONTRAST, CONTRAST) + rng.uniform(-COLOUR, COLOUR, 3)
    offset = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    levels = (np.arange(256)[:, None] - 128) * gain + 128 + offset
    return np.clip(levels, 0, 255).round().astype(np.uint8)[None]
