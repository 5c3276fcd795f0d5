"""A refiner ready for use, its reference bank, and the one file that holds both.

The bank is sharp crops of one person that the refiner takes detail from. A crop is described by two thumbnails at mean
zero: the upper half of the face, which tells the pose, and the lower, which tells the mouth. The nearest crops are
those with the least difference in both.

person.safetensors: the refiner's weights under their own names, the bank's pictures as WebP (bank.0000, bank.0001 ...);
in its metadata the values it was trained with and the fingerprint of the generator that it belongs to.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.numpy
from PIL import Image
from safetensors import SafetensorError, safe_open

from hparams import HParams
from models import backend as backends
from models.backend import ArrayNetwork, Backend
from utils.errors import InputError
from utils.images import lower_half

PERSON = "person.safetensors"
THUMBNAIL = (16, 12)  # columns and rows of each half
MOUTH_WEIGHT = 0.5  # of the mouth's difference against the pose's; so the references come nearest to the truth
SHARP = 1 / 3  # of what the sharpest tenth of the crops has at least: the sharpness of those that are kept
WEBP_QUALITY = 92
PREFIX = "bank."  # of the pictures' names in a weight file


def describe(poses: np.ndarray, mouths: np.ndarray) -> np.ndarray:
    """Descriptors of faces: float32 [N, D]. poses, mouths: uint8 BGR [N, S, S, 3], of which the upper halves and the
    lower halves count; the sizes may differ."""
    upper = [face[: len(face) // 2] for face in poses]
    return np.hstack((_thumbnails(upper), MOUTH_WEIGHT * _thumbnails(lower_half(mouths, height_axis=-3))))


def _thumbnails(pictures: list[np.ndarray] | np.ndarray) -> np.ndarray:
    small = [cv2.resize(picture, THUMBNAIL, interpolation=cv2.INTER_AREA) for picture in pictures]
    values = np.stack(small).astype(np.float32) / 255
    return (values - values.mean(axis=(1, 2), keepdims=True)).reshape(len(values), -1)


def choose_spread(descriptors: np.ndarray, sharpnesses: np.ndarray, count: int) -> np.ndarray:
    """Which `count` faces with these descriptors [N, D] and sharpnesses [N] to keep: of the sharp ones those that
    differ most in mouth and pose (farthest-point sampling). Ascending indices."""
    usable = np.flatnonzero(sharpnesses >= SHARP * np.quantile(sharpnesses, 0.9))
    features = descriptors[usable]
    chosen = [int(sharpnesses[usable].argmax())]
    distances = np.full(len(usable), np.inf)
    while len(chosen) < min(count, len(usable)):
        distances = np.minimum(distances, np.square(features - features[chosen[-1]]).sum(axis=1))
        chosen.append(int(distances.argmax()))
    return np.sort(usable[chosen])


def nearest(
    references: np.ndarray, descriptors: np.ndarray, count: int, excluded: np.ndarray | None = None
) -> np.ndarray:
    """Indices [B, count] of the references, by their descriptors [N, D], that are most like the faces with the
    descriptors [B, D], the best first; excluded: bool [B, N], those that may not be taken, never all. Where there are
    fewer than `count` they are repeated."""
    distances = np.square(references).sum(axis=1) - 2 * descriptors @ references.T
    if excluded is None:
        excluded = np.zeros(distances.shape, bool)
    order = np.argsort(np.where(excluded, np.inf, distances), axis=1, kind="stable")
    allowed = np.count_nonzero(~excluded, axis=1)[:, None]
    return np.take_along_axis(order, np.arange(count)[None] % allowed, axis=1)


def _distances(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Between descriptors [A, D] and [B, D]: float32 [A, B]."""
    squares = np.square(ours).sum(axis=1)[:, None] + np.square(theirs).sum(axis=1) - 2 * ours @ theirs.T
    return np.sqrt(np.maximum(squares, 0))


class ReferenceBank:
    """pictures: uint8 BGR [N, S, S, 3]."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures, self.descriptors = pictures, describe(pictures, pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def nearest(self, descriptors: np.ndarray, count: int, excluded: np.ndarray | None = None) -> np.ndarray:
        """The pictures most like each face, uint8 BGR [B, count, S, S, 3]; arguments as of `nearest`."""
        return self.pictures[nearest(self.descriptors, descriptors, count, excluded)]

    def distances(self, faces: np.ndarray) -> np.ndarray:
        """How far faces, uint8 BGR [B, S, S, 3] of any size, are from the picture nearest to them, as a part of the
        median distance between two of the pictures: float32 [B]. Faces of the same person in another place or pose are
        farther than others, too."""
        between = _distances(self.descriptors, self.descriptors)[np.triu_indices(len(self), 1)]
        found = _distances(describe(faces, faces), self.descriptors).min(axis=1)
        return found / max(1e-6, float(np.median(between))) if len(between) else np.zeros(len(faces), np.float32)

    def encoded(self) -> dict[str, np.ndarray]:
        """The pictures as WebP, uint8 [bytes], by the names they have in a weight file."""
        quality = [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY]
        files = [cv2.imencode(".webp", picture, quality)[1] for picture in self.pictures]
        return {f"{PREFIX}{number:04d}": file.ravel() for number, file in enumerate(files)}


def without_bank(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The network's own weights in a person's file."""
    return {name: tensor for name, tensor in state_dict.items() if not name.startswith(PREFIX)}


def decoded(files: dict[str, np.ndarray], size: int) -> ReferenceBank:
    """The bank of faces of this size that `encoded` made these arrays of. Raises InputError for anything else, before
    it takes the memory that a picture says it needs."""
    return ReferenceBank(np.stack([_picture(name, files[name], size) for name in sorted(files)]))


def _picture(name: str, file: np.ndarray, size: int) -> np.ndarray:
    content = file.tobytes() if file.dtype == np.uint8 else b""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            if image.size == (size, size):
                return np.asarray(image.convert("RGB"))[..., ::-1]
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is no WebP picture of {size}x{size} pixels, or is damaged") from error
    raise InputError(f"{name} is {image.width}x{image.height} pixels large, expected {size}x{size}")


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
