"""A refiner ready for use, with the reference bank of a person, and the one file that holds both.

person.safetensors: the refiner's weights under their own names, the bank's pictures as WebP (bank.0000, bank.0001 ...);
in its metadata the values it was trained with and the fingerprint of the generator that it belongs to.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from hparams import HParams
from models import backend as backends
from models.backend import ArrayNetwork, Backend
from models.reference_bank import PREFIX, ReferenceBank, decoded, describe
from utils.errors import InputError

PERSON = "person.safetensors"


@dataclass(frozen=True)
class FaceRefiner:
    network: ArrayNetwork  # the refiner of backend.load
    hp: HParams  # the values it was trained with
    bank: ReferenceBank | None = None  # the person's references; None for a refiner of anyone
    path: Path | None = None  # its file
    generator: str = ""  # fingerprint of the generator it belongs to

    @property
    def size(self) -> int:
        """Pixels of both sides of a refined face."""
        return self.hp.refiner_size

    def __call__(
        self, generated: np.ndarray, shown: np.ndarray, bank: ReferenceBank, excluded: np.ndarray | None = None
    ) -> np.ndarray:
        """Refined faces, uint8 BGR [B, S, S, 3]; generated, shown: see backend.load; bank: its own, or one of the
        video; excluded: bool [B, N], pictures of the bank that are not to be taken."""
        descriptors, refined, step = describe(shown, generated), [], self.network.batch_size
        for first in range(0, len(generated), step):
            part = slice(first, first + step)
            not_these = None if excluded is None else excluded[part]
            references = bank.nearest(descriptors[part], self.hp.refiner_references, not_these)
            refined.append(self.network(generated[part], shown[part], references))
        return np.concatenate(refined)


def generator_of(path: Path) -> str:
    """The fingerprint of the generator that a person's file belongs to, "" where the file cannot be read."""
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("generator", "")
    except (SafetensorError, OSError):  # a damaged one is nobody's
        return ""


def load(path: Path, backend: Backend) -> FaceRefiner:
    """A refiner for use. Raises InputError where the file holds something else."""
    loaded = backends.load("refiner", path, backend)
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except SafetensorError:  # a checkpoint of a training, which has no bank
        arrays = {}
    files = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
    try:
        bank = decoded(files, loaded.hp.refiner_size) if files else None
    except InputError as error:
        raise InputError(f"{path}: its reference bank cannot be used: {error}") from error
    return FaceRefiner(loaded.networks[0], loaded.hp, bank, path, loaded.generator)
