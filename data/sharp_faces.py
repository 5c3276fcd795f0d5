"""Preprocessed clips -> what the refiner is trained on: a face at full sharpness, the same face as the generator takes
it, and sharp faces of the same person as references."""

from pathlib import Path

import cv2
import numpy as np

import audio
from data.augment import random_levels
from data.clip import Clip
from data.clip_bank import ClipBank
from data.dataset import Windows
from data.sampling import Key, StepPlan
from face_detection.crop import resized, to_network_size
from hparams import HParams

SHIFT, SCALE, ANGLE = 0.03, 0.04, 3.0  # standard deviations: parts of the crop, a factor's logarithm, degrees


class SharpFaces(Windows):
    """Single frames. Items: target uint8 [S, S, 3] with S = hp.refiner_size; frame uint8 [96, 96, 3], the same as the
    generator takes it; reference, likewise another frame of the clip; mel float32 [1, 80, 16]; references uint8
    [K, S, S, 3], the nearest of the clip's bank. In training all but these are jittered alike.

    banks: by the clip's folder; without one there are no references. They are chosen by the true mouth, which a dub
    does not know: there the generated one tells.
    """

    per_frame_mels = True
    batch_setting = "refiner_batch_size"

    def __init__(
        self, clips: list[Clip], hp: HParams, training: bool = False, banks: dict[Path, ClipBank] | None = None
    ) -> None:
        super().__init__(clips, hp, training)
        self.banks = banks or {}

    def plan(self, step_size: int) -> StepPlan:
        return StepPlan(step_size, window_frames=1)

    def __getitem__(self, key: Key) -> dict:
        clip, _, _, row, other, rng = self._draw(key)
        hp, face, reference = self.hp, clip.picture(row), clip.picture(other)
        item = {"mel": clip.mel_window(audio.frame_mel_starts(int(clip.times[row]), hp)[0], hp)}
        bank = self.banks.get(clip.folder)
        references = (
            bank.references(clip, row) if bank else np.empty((0, hp.refiner_size, hp.refiner_size, 3), np.uint8)
        )
        if not (self.training and hp.augment):
            target = resized(face, hp.refiner_size, hp.refiner_size)
            frame, reference = (to_network_size(picture, hp.img_size) for picture in (face, reference))
            return item | {"target": target, "frame": frame, "reference": reference, "references": references}
        mirrored, levels, matrix = int(rng.integers(2)), random_levels(rng), random_matrix(rng)

        def lit(moved: np.ndarray) -> np.ndarray:
            return cv2.flip(cv2.LUT(moved, levels), 1) if mirrored else cv2.LUT(moved, levels)

        small = hp.img_size, hp.img_size
        return item | {
            "target": lit(moved_target(face, matrix, hp.refiner_size)),
            "frame": lit(moved(face, matrix, small)),
            "reference": lit(moved(reference, matrix, small)),
            "references": np.flip(references, axis=2).copy() if mirrored else references,
        }


def moved_target(face: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The face [h, w, 3] changed by a matrix from random_matrix, at [size, size, 3], as sharp as unchanged: it is moved
    at its own size or that of the result, whichever has more pixels."""
    width, height = max(size, face.shape[1]), max(size, face.shape[0])
    return resized(moved(resized(face, width, height), matrix, (width, height), cv2.INTER_LANCZOS4), size, size)


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """A small random change of the crop: an affine matrix [2, 3] of the crop's coordinates in 0..1."""
    factor = float(np.exp(rng.normal(0, SCALE)))
    matrix = np.array(cv2.getRotationMatrix2D((0.5, 0.5), rng.normal(0, ANGLE), factor), np.float64)
    matrix[:, 2] += rng.normal(0, SHIFT, 2)
    return matrix


def moved(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """The picture [h, w, 3] changed by a matrix from random_matrix; size: width and height of the result."""
    height, width = picture.shape[:2]
    linear = matrix[:, :2] * np.array(size)[:, None] / (width, height)
    # centres of pixels lie half a pixel inside
    offset = matrix[:, 2] * size + linear.sum(axis=1) / 2 - 0.5
    return cv2.warpAffine(
        picture, np.column_stack((linear, offset)), size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
