"""The reference bank of some clips; its pictures stay in the clips' files till they are needed."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from data.clip import Clip
from face_detection.crop import resized
from hparams import HParams
from models.inputs import lower_half, sharpness
from models.reference_bank import ReferenceBank, choose_spread, describe, nearest

NEIGHBOURS = 6  # frames around one within which no reference is taken for it: they show the same mouth
CANDIDATES = 2000  # at most so many frames are looked at


class ClipBank:
    """At most hp.refiner_bank frames of the clips. clips, rows: where they are, of the same length."""

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
        """bool [B, N]: the references that are neighbours of these frames of the clip."""
        same = np.array([other.folder == clip.folder for other in self.clips])
        return same & (np.abs(self.rows - np.asarray(rows)[:, None]) <= NEIGHBOURS)

    def serves(self, clip: Clip) -> bool:
        """Whether every frame of the clip has a reference."""
        return not self.excluded(clip, np.arange(len(clip.frames))).all(axis=1).any()

    def references(self, clip: Clip, row: int) -> np.ndarray:
        """The pictures most like a frame, neighbours aside: uint8 BGR [K, S, S, 3]."""
        face = clip.faces[row][None]
        chosen = nearest(_descriptors(self), describe(face, face), self.count, self.excluded(clip, [row]))[0]
        return np.stack([sharp_face(self.clips[n], self.rows[n], self.size) for n in chosen])

    def pictures(self) -> ReferenceBank:
        """All of it in memory."""
        places = zip(self.clips, self.rows, strict=True)
        return ReferenceBank(np.stack([sharp_face(clip, row, self.size) for clip, row in places]))


def sharp_face(clip: Clip, row: int, size: int) -> np.ndarray:
    """The face of a frame at the refiner's size, uint8 BGR [size, size, 3]."""
    return resized(clip.picture(row), size, size)


@lru_cache(maxsize=4)  # not more, however many clips have a bank of their own
def _descriptors(bank: ClipBank) -> np.ndarray:
    faces = np.stack([clip.faces[row] for clip, row in zip(bank.clips, bank.rows, strict=True)])
    return describe(faces, faces)
