"""The reference bank of some clips."""

import numpy as np

from data.clip import Clip
from data.sharp_faces import sharp_size
from hparams import HParams
from models.reference_bank import ReferenceBank, choose_spread

NEIGHBOURS = 6  # frames around one within which no reference is taken for it: they show the same mouth
CANDIDATES = 2000  # at most so many frames are looked at


class ClipBank:
    """bank: at most hp.refiner_bank pictures of the clips, at hp.refiner_size pixels."""

    def __init__(self, clips: list[Clip], hp: HParams) -> None:
        self.count = hp.refiner_references
        frames = [(clip, row) for clip in dict.fromkeys(clips) for row in range(len(clip.frames))]
        frames = frames[:: -(-len(frames) // CANDIDATES)]
        chosen = choose_spread(np.stack([clip.faces[row] for clip, row in frames]), hp.refiner_bank)
        self.places = [frames[number] for number in chosen]
        self.bank = ReferenceBank(
            np.stack([sharp_size(clip.picture(row), hp.refiner_size) for clip, row in self.places])
        )

    def nearest(self, descriptor: np.ndarray, clip: Clip, row: int) -> np.ndarray:
        """For the face with this descriptor [1, D], frame `row` of `clip`, the pictures most like it but those of its
        neighbours: uint8 BGR [K, S, S, 3]."""
        excluded = [place.folder == clip.folder and abs(number - row) <= NEIGHBOURS for place, number in self.places]
        return self.bank.pictures[self.bank.nearest(descriptor, self.count, np.array([excluded]))[0]]
