"""Faces in all frames of a video, and its hard cuts: what preprocessing, dubbing and scoring all begin with."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from face_detection.boxes import LONGEST_SIDE, Detector, shrink, unscaled
from face_detection.sparse import detect_sparsely
from media.shots import CutFinder
from utils.memory import HalvingBatches

SECOND_HEIGHT = 0.5  # of the largest face's, from which on another one counts
WIDE = 0.9  # width of a box in heights; upright heads have 0.6 to 0.8


class FoundFaces(NamedTuple):
    """detections: float32 [N, 5] per frame (x1 y1 x2 y2 score), or [N, 15] with five landmarks, in pixels; cuts:
    numbers of the frames that begin a new shot."""

    detections: list[np.ndarray]
    cuts: list[int]


def find_faces(images: Iterable[np.ndarray], detector: Detector, batch_size: int, sparse: bool = False) -> FoundFaces:
    """images: the frames of one video, BGR uint8 of one size; they are reduced as they come, so that a batch of large
    ones takes little memory. sparse: detect in some frames and interpolate where these agree."""
    cut_finder, scale, batched = CutFinder(), 1.0, BatchedDetector(detector, batch_size)

    def reduced() -> Iterator[np.ndarray]:
        nonlocal scale
        for image in cut_finder.watch(images):
            small, scale = shrink(image, LONGEST_SIDE)
            yield small

    detect = detect_sparsely if sparse else detect_in_batches
    detections = [unscaled(found, scale) for found in detect(reduced(), batched, batch_size)]
    return FoundFaces(detections, cut_finder.cuts())


class BatchedDetector:
    """A detector that takes any number of frames, in batches that shrink when the device runs out of memory."""

    def __init__(self, detector: Detector, batch_size: int) -> None:
        self.name, self._detector, self._batches = detector.name, detector, HalvingBatches(batch_size)

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        batches = self._batches.run(lambda part: self._detector.detect(frames[part]), len(frames))
        return [found for batch in batches for found in batch]


def detect_in_batches(frames: Iterable[np.ndarray], detector: Detector, batch_size: int) -> Iterator[np.ndarray]:
    """Faces of every frame, float32 [N, 5 or more] each, in order; frames: BGR uint8 of one size."""
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == batch_size:
            yield from detector.detect(batch)
            batch = []
    if batch:
        yield from detector.detect(batch)


def lying_faces(detections: list[np.ndarray]) -> float:
    """Share of the frames with a face in which the largest one's box is wide, as of a head that lies on its side.

    detections: as in FoundFaces.
    """
    largest = [boxes[np.argmax(boxes[:, 3] - boxes[:, 1])] for boxes in detections if len(boxes)]
    return float(np.mean([is_wide(face) for face in largest])) if largest else 0.0


def is_wide(face: np.ndarray) -> bool:
    """Whether the box of a detection is wider than that of an upright head."""
    return bool(face[2] - face[0] > WIDE * (face[3] - face[1]))


def several_people(detections: list[np.ndarray]) -> float:
    """Share of the frames with a face in which there is a second one of some size. detections: as in FoundFaces."""
    heights = [np.sort(boxes[:, 3] - boxes[:, 1]) for boxes in detections if len(boxes)]
    second = [len(sizes) > 1 and sizes[-2] >= SECOND_HEIGHT * sizes[-1] for sizes in heights]
    return float(np.mean(second)) if second else 0.0
