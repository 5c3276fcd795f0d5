"""How sharp, how like and how steady generated mouths are, beside the true ones.

Faces are crops of any size, uint8 BGR [N, S, S, 3]; only crops of one size can be compared. Everything is weighted by
the mouth's area (mouth_weight), so that cheeks and background count for nothing.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from metrics.likeness import HIGHEST_PSNR
from models.inputs import lower_half

# The mouth's area in parts of the crop: an ellipse; the weight is 1 up to INNER and 0 from OUTER of its half-axes
CENTRE_X, CENTRE_Y = 0.5, 0.75
HALF_WIDTH, HALF_HEIGHT = 0.33, 0.2
INNER, OUTER = 0.7, 1.2
SMALLEST = 0.01  # levels; what ratios are divided by at least, so that a still truth has one
# Of gradient_distance
SCALES = 4
WINDOW = 3.0  # pixels, standard deviation of the window that gradients are compared in
FAINT = 4.0  # (levels per pixel)^2; gradients below its root count for little


@lru_cache
def mouth_weight(size: int) -> np.ndarray:
    """float32 [size, size], 1 around the mouth, 0 in the upper half and towards the edges."""
    rows, columns = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    distance = np.hypot((columns - CENTRE_X) / HALF_WIDTH, (rows - CENTRE_Y) / HALF_HEIGHT)
    faded = np.clip((OUTER - distance) / (OUTER - INNER), 0, 1)
    return faded * faded * (3 - 2 * faded)


def sharpness(faces: np.ndarray) -> float:
    """Variance of the luma's Laplacian at the mouth, mean over faces, in squared levels (0..255). Noise is as sharp as
    detail, and a larger crop of the same face is less sharp."""
    weight = mouth_weight(faces.shape[1])
    values = []
    for face in faces:
        laplacian = cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.CV_32F)
        mean = np.average(laplacian, weights=weight)
        values.append(np.average(np.square(laplacian - mean), weights=weight))
    return float(np.mean(values))


def flicker(generated: np.ndarray, true: np.ndarray) -> float:
    """How much more than the truth the mouth flickers: 1 is as steady, 0 does not flicker (or does not move).

    The flicker of a pixel is by how many levels it lies outside the range of its values one frame before and after,
    its distance from the median of the three. Motion that goes on counts for nothing, one frame that stands out counts
    in full. A mouth at twice the speed has twice the flicker, noise of 4 levels three times (GRID, 96 px); plain
    differences of frames give 1.5 and 1.9, second differences 1.6 and 2.2, and so tell the two less well apart.
    """
    return _flicker_levels(generated) / max(_flicker_levels(true), SMALLEST)


def _flicker_levels(faces: np.ndarray) -> float:
    weight = mouth_weight(faces.shape[1])
    values = []
    for before, face, after in zip(faces, faces[1:], faces[2:], strict=False):
        nearest = np.clip(face, np.minimum(before, after), np.maximum(before, after))
        values.append(np.average(cv2.absdiff(face, nearest).mean(axis=2), weights=weight))
    return float(np.mean(values))


def mouth_psnr(generated: np.ndarray, true: np.ndarray) -> float:
    """PSNR in dB at the mouth, mean over faces."""
    weight = mouth_weight(true.shape[1])
    values = []
    for one, other in zip(generated, true, strict=True):
        errors = np.square((one.astype(np.float32) - other) / 255).mean(axis=2)  # [S, S]
        values.append(-10 * np.log10(max(np.average(errors, weights=weight), 10 ** (-HIGHEST_PSNR / 10))))
    return float(np.mean(values))


def mouth_ssim(generated: np.ndarray, true: np.ndarray) -> float:
    """SSIM (windows of 7 x 7 pixels) averaged over the mouth's area, mean over faces."""
    weight = lower_half(mouth_weight(true.shape[1]))
    values = []
    for one, other in zip(*(lower_half(faces, height_axis=-3) for faces in (generated, true)), strict=True):
        _, similarity = structural_similarity(one, other, channel_axis=2, full=True)  # [S/2, S, 3]
        values.append(np.average(similarity.mean(axis=2), weights=weight))
    return float(np.mean(values))


def gradient_distance(generated: np.ndarray, true: np.ndarray) -> float:
    """Distance of the luma's gradients at the mouth: 0 for equal faces, up to 1, mean over faces.

    Contrast and structure terms of SSIM, taken of gradients (G-SSIM: Chen, Yang and Xie, ICIP 2006), over SCALES
    octaves, and averaged instead of multiplied, as DISTS does (Ding et al., TPAMI 2020): the contrast term counts
    edges of the same strength that lie elsewhere as half alike, so that blur is worse than a shift of a pixel.
    """
    pairs = zip(_lumas(generated), _lumas(true), strict=True)
    return float(np.mean([np.mean([_octave_distance(*octave) for octave in _octaves(*pair)]) for pair in pairs]))


def _lumas(faces: np.ndarray) -> Iterator[np.ndarray]:
    for face in faces:
        yield cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.float32)


def _octaves(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The two pictures at SCALES sizes, each half as large as the one before."""
    for _ in range(SCALES):
        yield one, other
        one, other = cv2.pyrDown(one), cv2.pyrDown(other)


def _octave_distance(one: np.ndarray, other: np.ndarray) -> float:
    """one, other: luma, float32 [S, S], 0..255."""
    weight, distances = mouth_weight(len(one)), []
    for direction in ((1, 0), (0, 1)):
        a, b = (cv2.Sobel(luma, cv2.CV_32F, *direction, scale=1 / 8) for luma in (one, other))  # levels per pixel
        aa, bb, ab = (cv2.GaussianBlur(product, (0, 0), WINDOW) for product in (a * a, b * b, a * b))
        similar = (np.sqrt(aa * bb) + ab + FAINT) / (aa + bb + FAINT)  # mean of both terms
        distances.append(1 - np.average(similar, weights=weight))
    return float(np.mean(distances))


def detail_scores(generated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Scores of generated faces beside the true ones, frame by frame, both uint8 BGR [N, S, S, 3], three or more."""
    return {
        "mouth_psnr": mouth_psnr(generated, true),
        "mouth_ssim": mouth_ssim(generated, true),
        "gradient_distance": gradient_distance(generated, true),
        "sharpness_ratio": sharpness(generated) / max(sharpness(true), SMALLEST),
        "flicker_ratio": flicker(generated, true),
    }
