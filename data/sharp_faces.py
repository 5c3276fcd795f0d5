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

        def jittered(picture: np.ndarray, size: int, flags: int) -> np.ndarray:
            moved = cv2.LUT(_moved(picture, matrix, size, flags), levels)
            return cv2.flip(moved, 1) if mirrored else moved

        target = resized(face, hp.refiner_size, hp.refiner_size)
        return item | {
            "target": jittered(target, hp.refiner_size, cv2.INTER_LANCZOS4),
            "frame": jittered(face, hp.img_size, cv2.INTER_LINEAR),
            "reference": jittered(reference, hp.img_size, cv2.INTER_LINEAR),
            "references": np.flip(references, axis=2).copy() if mirrored else references,
        }


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """A small random change of the crop: an affine matrix [2, 3] of the crop's coordinates in 0..1."""
    factor = float(np.exp(rng.normal(0, SCALE)))
    matrix = np.array(cv2.getRotationMatrix2D((0.5, 0.5), rng.normal(0, ANGLE), factor), np.float64)
    matrix[:, 2] += rng.normal(0, SHIFT, 2)
    return matrix


def _moved(picture: np.ndarray, matrix: np.ndarray, size: int, flags: int) -> np.ndarray:
    """The picture [h, w, 3] changed by a matrix from random_matrix, at [size, size, 3]."""
    height, width = picture.shape[:2]
    linear, offset = matrix[:, :2] * size / (width, height), matrix[:, 2] * size
    offset = offset + linear.sum(axis=1) / 2 - 0.5  # centres of pixels lie half a pixel inside
    scaled = np.column_stack((linear, offset))
    return cv2.warpAffine(picture, scaled, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
