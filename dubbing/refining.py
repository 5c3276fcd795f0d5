"""Refining in a dub: where references come from when no person's are there, and the grain of the skin around."""

from functools import lru_cache

import cv2
import numpy as np

from dubbing.faces import FaceRegions
from dubbing.paste import crop_face, mask_slope
from dubbing.source import TOLERANCE, Source
from models.face_refiner import FaceRefiner
from models.reference_bank import ReferenceBank, choose_spread

SAMPLED = 20.0  # seconds of the video that references come from
CANDIDATES = 100  # crops that references are chosen from
TO_SIGMA = 1 / (0.6745 * 20**0.5)  # median of a Laplacian's absolute values -> standard deviation of white noise
MOST_GRAIN = 8.0  # levels


def bank_of_video(
    source: Source, faces: FaceRegions, pix_fmt: str, seconds: float, refiner: FaceRefiner
) -> ReferenceBank:
    """References from the video that is dubbed, which shows a face."""
    candidates = sampled_faces(source, faces, pix_fmt, min(seconds, SAMPLED), refiner.size, CANDIDATES)
    return ReferenceBank(candidates[choose_spread(candidates, refiner.hp.refiner_bank)])


def sampled_faces(
    source: Source, faces: FaceRegions, pix_fmt: str, seconds: float, size: int, count: int
) -> np.ndarray:
    """Crops of the face, evenly over the first `seconds`, in which it is known: uint8 BGR [N, size, size, 3],
    N about `count`, at least one."""
    step = max(1, source.frames_once(seconds) // count)
    pictures: list[np.ndarray] = []
    for frame in source.once(pix_fmt):
        if frame.time > seconds - TOLERANCE:
            break
        region, _ = faces.at(frame.number)
        if region is not None and (frame.number % step == 0 or not pictures):
            pictures.append(crop_face(frame.picture, region, size))
    return np.stack(pictures)


def match_grain(face: np.ndarray, shown: np.ndarray, number: int) -> np.ndarray:
    """The face, uint8 BGR [S, S, 3], with as much noise as `shown`, likewise, has around the mouth, where it has less.

    Both are compared in the mask's slope (noise after Immerkaer, 1996, with medians, which lines do not move). number:
    of the frame, from which the noise follows.
    """
    missing = noise(shown) ** 2 - noise(face) ** 2
    if missing <= 0:
        return face
    grain = np.random.default_rng(number).standard_normal(face.shape[:2], np.float32) * min(missing**0.5, MOST_GRAIN)
    return np.clip(np.rint(face + grain[..., None]), 0, 255).astype(np.uint8)


def noise(face: np.ndarray) -> float:
    """Standard deviation of the noise in the mask's slope, in levels; face: uint8 BGR [S, S, 3]."""
    luma = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
    laplacian = np.abs(cv2.Laplacian(luma, cv2.CV_32F)[_around_mouth(len(face))])
    return float(np.median(laplacian)) * TO_SIGMA


@lru_cache
def _around_mouth(size: int) -> np.ndarray:
    return mask_slope(size) > 0.1
