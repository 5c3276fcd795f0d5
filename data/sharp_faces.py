"""Preprocessed clips -> what the refiner is trained on: a face at full sharpness, the same face as the generator takes
it, and where in its clip it comes from."""

from typing import Any

import cv2
import numpy as np

import audio
from data.augment import random_levels
from data.dataset import Windows
from data.sampling import Key, StepPlan
from face_detection.crop import to_network_size

SHIFT, SCALE, ANGLE = 0.03, 0.04, 3.0  # standard deviations: parts of the crop, a factor's logarithm, degrees


class SharpFaces(Windows):
    """Single frames. Items: target uint8 [S, S, 3] with S = hp.refiner_size; frame uint8 [96, 96, 3], the same as the
    generator takes it; reference, likewise another frame of the clip; mel float32 [1, 80, 16]; clip, row: where the
    frame comes from; mirrored: 0 or 1. In training all pictures of an item are jittered alike.
    """

    per_frame_mels = True
    batch_setting = "refiner_batch_size"

    def plan(self, step_size: int) -> StepPlan:
        return StepPlan(step_size, window_frames=1)

    def __getitem__(self, key: Key) -> dict:
        clip, number, _, row, other, rng = self._draw(key)
        hp, jittered = self.hp, self.training and self.hp.augment
        face, reference = clip.picture(row), clip.picture(other)
        item: dict[str, Any] = {"clip": number, "row": row, "mirrored": 0}
        item["mel"] = clip.mel_window(audio.frame_mel_starts(int(clip.times[row]), hp)[0], hp)
        if not jittered:
            small = (to_network_size(picture, hp.img_size) for picture in (face, reference))
            return item | dict(zip(("frame", "reference"), small, strict=True)) | {
                "target": sharp_size(face, hp.refiner_size)
            }  # fmt: skip
        mirrored, levels, matrix = int(rng.integers(2)), random_levels(rng), random_matrix(rng)

        def seen(picture: np.ndarray, size: int) -> np.ndarray:
            moved = cv2.LUT(_moved(picture, matrix, size), levels)
            return cv2.flip(moved, 1) if mirrored else moved

        return item | {
            "target": seen(face, hp.refiner_size),
            "frame": seen(face, hp.img_size),
            "reference": seen(reference, hp.img_size),
            "mirrored": mirrored,
        }


def sharp_size(face: np.ndarray, size: int) -> np.ndarray:
    """A crop of any size, uint8 BGR [h, w, 3], at [size, size, 3] without aliasing."""
    shrinks = min(face.shape[:2]) >= size
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """A small random change of the crop: an affine matrix [2, 3] of the crop's coordinates in 0..1."""
    factor = float(np.exp(rng.normal(0, SCALE)))
    matrix = np.array(cv2.getRotationMatrix2D((0.5, 0.5), rng.normal(0, ANGLE), factor), np.float64)
    matrix[:, 2] += rng.normal(0, SHIFT, 2)
    return matrix


def _moved(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The picture [h, w, 3] changed by a matrix from random_matrix, at [size, size, 3]."""
    height, width = picture.shape[:2]
    linear, offset = matrix[:, :2] * size / (width, height), matrix[:, 2] * size
    offset = offset + linear.sum(axis=1) / 2 - 0.5  # centres of pixels lie half a pixel inside
    scaled = np.column_stack((linear, offset))
    return cv2.warpAffine(picture, scaled, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
