"""How like a generated mouth is to the true one: its pictures, its detail, and how it moves.

Faces are crops of one size, uint8 BGR [N, S, S, 3]. A mean of all mouths has a small L1, and a blurred mouth a high
PSNR and SSIM: the scores of detail and of motion tell these from a mouth that talks.
"""

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from face_detection.crop import mouth_mask, mouth_region
from utils.images import lower_half, sharpness

MAX_PSNR = 100.0  # dB, of equal pictures
MOUTH_AREA = ((0.33, 0.2), 0.7, 1.2)  # of mouth_mask, for scores of detail
ARTICULATION = ("follows", "motion", "contrast")
MIN_LEVELS = 0.01  # what ratios are divided by at least, so that a still or blank truth has a score
# Of gradient_distance
SCALES = 4
GRADIENT_WINDOW = 3.0  # pixels, standard deviation of the window that gradients are compared in
FAINT_GRADIENT = 4.0  # (levels per pixel)^2; gradients below its root count for little


def mouth_area(size: int) -> np.ndarray:
    """Weights float32 [size, size]: 1 around the mouth, 0 in the upper half and towards the edges."""
    return mouth_mask(size, *MOUTH_AREA)


def likeness(generated: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """L1 (of 0..1), PSNR in dB and SSIM of two pictures, uint8 BGR [H, W, 3]."""
    difference = (generated.astype(np.float32) - true) / 255
    ssim = float(structural_similarity(generated, true, channel_axis=2))
    return float(np.abs(difference).mean()), _psnr(float(np.square(difference).mean())), ssim


def mouth_likeness(generated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """mouth_l1 and mouth_ssim: means over the lower halves of faces."""
    pairs = zip(lower_half(generated, height_axis=-3), lower_half(true, height_axis=-3), strict=True)
    l1, _, ssim = np.mean([likeness(a, b) for a, b in pairs], axis=0)
    return {"mouth_l1": float(l1), "mouth_ssim": float(ssim)}


def _psnr(squared_error: float) -> float:
    return -10 * float(np.log10(max(squared_error, 10 ** (-MAX_PSNR / 10))))


def articulation(generated: np.ndarray, true: np.ndarray, shots: np.ndarray | None = None) -> dict[str, float]:
    """How the mouth moves and what it shows, in the rectangle mouth_region. shots: int [N], the number of each frame's
    shot; changes from shot to shot do not count.

    follows: correlation, over all frames and pixels, of the two mouths' differences from their own mean pictures. 1:
    every pixel changes as in truth; 0: the change has nothing to do with the true one, or there is none; below 0: the
    opposite. How much a mouth moves does not count.
    motion: mean absolute difference of neighbouring frames, generated over true. 0 is still, flicker is above 1.
    contrast: standard deviation of each mouth's pixels in each channel, generated over true. Less is pale or blurred.
    """
    cuts = np.flatnonzero(np.diff(shots if shots is not None else np.zeros(len(true)))) + 1
    mouths = [np.split(mouth_region(faces).astype(np.float32), cuts) for faces in (generated, true)]
    changes = [np.concatenate([shot - shot.mean(axis=0) for shot in each]) for each in mouths]
    steps = [np.concatenate([np.abs(np.diff(shot, axis=0)) for shot in each]) for each in mouths]
    moved = [float(step.mean()) if len(step) else 0.0 for step in steps]
    deviation = [float(np.concatenate(each).std(axis=(1, 2)).mean()) for each in mouths]
    length = np.linalg.norm(changes[0]) * np.linalg.norm(changes[1])
    return {
        "follows": float((changes[0] * changes[1]).sum() / length) if length else 0.0,
        "motion": moved[0] / max(moved[1], MIN_LEVELS),
        "contrast": deviation[0] / max(deviation[1], MIN_LEVELS),
    }


def region_l1(generated: np.ndarray, true: np.ndarray) -> float:
    """Mean absolute difference (of 0..1) in the rectangle mouth_region; mouth_l1 is of the whole lower half."""
    mouths = (mouth_region(faces).astype(np.float32) for faces in (generated, true))
    return float(np.abs(next(mouths) - next(mouths)).mean() / 255)


def mouth_sharpness(faces: np.ndarray) -> float:
    """Sharpness at the mouth, mean over faces."""
    return float(np.mean([sharpness(face, mouth_area(len(face))) for face in faces]))


def gradient_distance(generated: np.ndarray, true: np.ndarray) -> float:
    """Distance of the luma's gradients at the mouth of two faces, uint8 BGR [S, S, 3]: 0 for equal ones, up to 1.

    Contrast and structure terms of SSIM, taken of gradients (G-SSIM: Chen, Yang and Xie, ICIP 2006), over SCALES
    octaves, and averaged instead of multiplied, as DISTS does (Ding et al., TPAMI 2020): the contrast term counts
    edges of the same strength that lie elsewhere as half alike, so that blur is worse than a shift of a pixel.
    """
    lumas = [cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.float32) for face in (generated, true)]
    distances = []
    for _ in range(SCALES):
        area = mouth_area(len(lumas[0]))
        for direction in ((1, 0), (0, 1)):
            a, b = (cv2.Sobel(luma, cv2.CV_32F, *direction, scale=1 / 8) for luma in lumas)  # levels per pixel
            aa, bb, ab = (cv2.GaussianBlur(product, (0, 0), GRADIENT_WINDOW) for product in (a * a, b * b, a * b))
            similar = (np.sqrt(aa * bb) + ab + FAINT_GRADIENT) / (aa + bb + FAINT_GRADIENT)  # mean of both terms
            distances.append(1 - np.average(similar, weights=area))
        lumas = [np.asarray(cv2.pyrDown(luma), np.float32) for luma in lumas]
    return float(np.mean(distances))
