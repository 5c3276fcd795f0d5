"""Grain: refined mouths are as clean as the network draws them, the skin around is as noisy as the camera made it."""

import cv2
import numpy as np

# Middle half of a Laplacian's absolute values, their mean -> standard deviation of white noise
TO_SIGMA = 1 / (0.693 * 20**0.5)
MOST_GRAIN = 8.0  # levels


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
    laplacian = np.sort(np.abs(cv2.Laplacian(luma, cv2.CV_32F)[around]))
    middle = laplacian[len(laplacian) // 4 : -(len(laplacian) // 4) or None]
    return float(middle.mean()) * TO_SIGMA if len(middle) else 0.0
