"""Sharp crops of one person that the refiner takes detail from: which to keep, and which of them suit a face.

A crop is described by two thumbnails at mean zero: the upper half of the face, which tells the pose, and the lower,
which tells the mouth. The nearest crops are those with the least difference in both.
"""

from typing import Any

import cv2
import numpy as np
import torch

from models.inputs import lower_half

THUMBNAIL = (16, 12)  # columns and rows of each half
MOUTH_WEIGHT = (
    0.5  # of the mouth's difference against the pose's; measured by how near the references come to the truth
)
SHARPEST = 0.9  # part of the crops that are sharp enough to be kept
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


def choose_spread(faces: np.ndarray, count: int) -> np.ndarray:
    """Which `count` of these faces, uint8 BGR [N, S, S, 3], to keep: the sharpest among them, and of those the ones
    that differ most in mouth and pose (farthest-point sampling). Ascending indices."""
    sharpness = np.array([_sharpness(face) for face in faces])
    least = np.quantile(sharpness, 1 - SHARPEST) if len(faces) > count else -np.inf
    usable = np.flatnonzero(sharpness >= least)
    features = describe(faces[usable], faces[usable])
    chosen = [int(sharpness[usable].argmax())]
    distances = np.full(len(usable), np.inf)
    while len(chosen) < min(count, len(usable)):
        distances = np.minimum(distances, np.square(features - features[chosen[-1]]).sum(axis=1))
        chosen.append(int(distances.argmax()))
    return np.sort(usable[chosen])


def _sharpness(face: np.ndarray) -> float:
    """Variance of the Laplacian of the lower half."""
    grey = cv2.cvtColor(np.ascontiguousarray(lower_half(face, height_axis=-3)), cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


class ReferenceBank:
    """pictures: uint8 BGR [N, S, S, 3]."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures
        self.descriptors = describe(pictures, pictures)
        self._squares = np.square(self.descriptors).sum(axis=1)

    def __len__(self) -> int:
        return len(self.pictures)

    def nearest(self, descriptors: np.ndarray, count: int, excluded: np.ndarray | None = None) -> np.ndarray:
        """Indices [B, count] of the pictures that are most like faces with these descriptors [B, D], the best first;
        excluded: bool [B, N], those that may not be taken. A bank with less is repeated."""
        distances = self._squares - 2 * descriptors @ self.descriptors.T
        if excluded is not None:
            distances = np.where(excluded, distances.max() + 1, distances)
        order = np.argsort(distances, axis=1, kind="stable")
        return order[:, np.arange(count) % len(self)]

    def encoded(self) -> dict[str, torch.Tensor]:
        """The pictures as WebP, by the names they have in a weight file."""
        quality = [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY]
        files = [cv2.imencode(".webp", picture, quality)[1] for picture in self.pictures]
        return {f"{PREFIX}{number:04d}": torch.from_numpy(file.ravel()) for number, file in enumerate(files)}


def decoded(tensors: dict[str, torch.Tensor]) -> ReferenceBank:
    """The bank that `encoded` made these tensors of."""
    files = [tensors[name].numpy() for name in sorted(tensors)]
    pictures: list[Any] = [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files]
    return ReferenceBank(np.stack(pictures))
