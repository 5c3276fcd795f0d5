"""What the refiner is trained on: sharp faces of preprocessed clips, and their reference banks."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

import audio
from data.augment import random_lut
from data.clip import Clip
from data.dataset import Windows
from data.sampling import Key, StepPlan
from face_detection.crop import resized, to_network_size
from hparams import HParams
from models.face_refiner import ReferenceBank, choose_spread, describe, nearest
from utils.images import lower_half, sharpness

NEIGHBOURS = 6  # frames around one that are no references for it: they show the same mouth
CANDIDATES = 2000  # frames that a bank is chosen from, at most
SHIFT, SCALE, ANGLE = 0.03, 0.04, 3.0  # standard deviations: parts of the crop, a factor's logarithm, degrees


class ClipBank:
    """The reference bank of some clips, at most hp.refiner_bank frames. It keeps where they are (clips, rows); the
    pictures stay in the clips' files."""

    def __init__(self, clips: list[Clip], hp: HParams) -> None:
        self.size, self.count = hp.refiner_size, hp.refiner_references
        frames = [(clip, row) for clip in dict.fromkeys(clips) for row in range(len(clip.frames))]
        frames = frames[:: -(-len(frames) // CANDIDATES)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sharpnesses = list(pool.map(self._sharpness, frames))
        faces = np.stack([clip.faces[row] for clip, row in frames])
        chosen = [frames[n] for n in choose_spread(describe(faces, faces), np.array(sharpnesses), hp.refiner_bank)]
        self.clips, self.rows = [clip for clip, _ in chosen], np.array([row for _, row in chosen])

    def _sharpness(self, frame: tuple[Clip, int]) -> float:
        return sharpness(lower_half(sharp_face(*frame, self.size), height_axis=-3))

    def excluded(self, clip: Clip, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """bool [B, N]: which references are neighbours of these frames of the clip."""
        same = np.array([other.folder == clip.folder for other in self.clips])
        return same & (np.abs(self.rows - np.asarray(rows)[:, None]) <= NEIGHBOURS)

    def serves(self, clip: Clip) -> bool:
        """Whether every frame of the clip has a reference."""
        return not self.excluded(clip, np.arange(len(clip.frames))).all(axis=1).any()

    def references(self, clip: Clip, row: int) -> np.ndarray:
        """The pictures most like a frame, without its neighbours: uint8 BGR [K, S, S, 3]."""
        face = clip.faces[row][None]
        chosen = nearest(_descriptors(self), describe(face, face), self.count, self.excluded(clip, [row]))[0]
        return np.stack([sharp_face(self.clips[n], self.rows[n], self.size) for n in chosen])

    def pictures(self) -> ReferenceBank:
        """All of it in memory."""
        pictures = [sharp_face(clip, row, self.size) for clip, row in zip(self.clips, self.rows, strict=True)]
        return ReferenceBank(np.stack(pictures))


@lru_cache(maxsize=4)  # not more, however many clips have a bank of their own
def _descriptors(bank: ClipBank) -> np.ndarray:
    faces = np.stack([clip.faces[row] for clip, row in zip(bank.clips, bank.rows, strict=True)])
    return describe(faces, faces)


def sharp_face(clip: Clip, row: int, size: int) -> np.ndarray:
    """The face of a frame at the refiner's size, uint8 BGR [size, size, 3]."""
    return resized(clip.picture(row), size, size)


class SharpFaces(Windows):
    """Single frames. In training all pictures but the references are jittered alike. Items:

        target      uint8 [S, S, 3]     the face at S = hp.refiner_size
        frame       uint8 [96, 96, 3]   the same as the generator takes it
        reference   uint8 [96, 96, 3]   another frame of the clip, as the generator takes it
        mel         float32 [1, 80, 16]
        references  uint8 [K, S, S, 3]  the nearest of the clip's bank

    banks: by the clip's folder; a clip without a bank has no references. They are chosen by the true mouth; a dub takes
    the generated one.
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
        clip, _, row, other, rng = self._sample(key)
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
        mirrored, lut, matrix = int(rng.integers(2)), random_lut(rng), random_matrix(rng)

        def relight(warped: np.ndarray) -> np.ndarray:
            return cv2.flip(cv2.LUT(warped, lut), 1) if mirrored else cv2.LUT(warped, lut)

        small = hp.img_size, hp.img_size
        return item | {
            "target": relight(warp_target(face, matrix, hp.refiner_size)),
            "frame": relight(warp(face, matrix, small)),
            "reference": relight(warp(reference, matrix, small)),
            "references": np.flip(references, axis=2).copy() if mirrored else references,
        }


def warp_target(face: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The face [h, w, 3] warped by a matrix from random_matrix, [size, size, 3]. To stay sharp it is warped at its own
    size or that of the result, whichever has more pixels."""
    width, height = max(size, face.shape[1]), max(size, face.shape[0])
    return resized(warp(resized(face, width, height), matrix, (width, height), cv2.INTER_LANCZOS4), size, size)


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """A small random change of the crop: an affine matrix [2, 3] of the crop's coordinates in 0..1."""
    factor = float(np.exp(rng.normal(0, SCALE)))
    matrix = np.array(cv2.getRotationMatrix2D((0.5, 0.5), rng.normal(0, ANGLE), factor), np.float64)
    matrix[:, 2] += rng.normal(0, SHIFT, 2)
    return matrix


def warp(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """The picture [h, w, 3] warped by a matrix from random_matrix; size: width and height of the result."""
    height, width = picture.shape[:2]
    linear = matrix[:, :2] * np.array(size)[:, None] / (width, height)
    # centres of pixels lie half a pixel inside
    offset = matrix[:, 2] * size + linear.sum(axis=1) / 2 - 0.5
    return cv2.warpAffine(
        picture, np.column_stack((linear, offset)), size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
