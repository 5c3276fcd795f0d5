"""Faces in all frames of a video, detected in every frame or in some, and its hard cuts.

frames      0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
key         K              K              K              K
agree       |--- yes: ------|--- no: -------|--- moved: ---|
            | interpolated  | all detected  | checked at M |
                                                  M

Where faces are wanted within a pixel, a face that has moved from one key frame to the next is also detected in the
middle frame; all frames between are detected unless it lies there on a straight line.
"""

from array import array
from collections.abc import Generator, Iterable, Iterator
from itertools import islice, pairwise
from typing import TypeVar

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from face_detection.crop import assigned, overlaps
from face_detection.detectors import Detector
from utils.process import HalvingBatches

Frame = TypeVar("Frame", np.ndarray, av.VideoFrame)

KEY_STEP = 5  # frames from one key frame to the next
STEADY_IOU = 0.75  # faces in neighbouring key frames are the same, and hardly moved
PATCH = 12  # pixels, side of the thumbnail that a face between key frames is recognised by
LIKE = 0.85  # least correlation of two thumbnails of one face
STILL = 2.0  # pixels that a side may move between key frames without a check, where faces are wanted closely
STRAIGHT = 1.0  # pixels that a checked one may be off
EMPTY_CHANGE = 6.0  # levels, of 255, by which a frame between two without a face may differ from the first
THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
CUT_NEIGHBOURS = 5  # frames
AVERAGED = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
SECOND_HEIGHT = 0.5  # of the largest face's, from which on another one counts
SIDEWAYS_WIDTH = 0.9  # width of a box in heights; upright heads have 0.6 to 0.8


def find_faces(frames: Iterable[np.ndarray], detector: Detector, batch_size: int) -> Iterator[np.ndarray]:
    """Faces of every frame, float32 [N, 5] (x1 y1 x2 y2 score) each, or [N, 15] with five landmarks, in pixels.

    frames: of one video, BGR uint8 of one size.
    """
    batches, frames = _Batches(detector, batch_size), iter(frames)
    while batch := list(islice(frames, batch_size)):
        yield from batches.detect(batch)


class _Batches:
    """A detector that takes any number of frames, in batches that shrink when the device runs out of memory."""

    def __init__(self, detector: Detector, batch_size: int) -> None:
        self._detector, self._batches = detector, HalvingBatches(batch_size)

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        batches = self._batches.run(lambda part: self._detector.detect(frames[part]), len(frames))
        return [found for batch in batches for found in batch]


def lying_faces(detections: list[np.ndarray]) -> float:
    """Share of the frames with a face in which the largest one's box is wide, as of a head that lies on its side.

    detections: as find_faces() gives them.
    """
    largest = [boxes[np.argmax(boxes[:, 3] - boxes[:, 1])] for boxes in detections if len(boxes)]
    return float(np.mean([is_wide(face) for face in largest])) if largest else 0.0


def is_wide(face: np.ndarray) -> bool:
    """Whether a detection's box is wider than that of an upright head."""
    return bool(face[2] - face[0] > SIDEWAYS_WIDTH * (face[3] - face[1]))


def several_people(detections: list[np.ndarray]) -> float:
    """Share of the frames with a face in which there is a second one of some size."""
    heights = [np.sort(boxes[:, 3] - boxes[:, 1]) for boxes in detections if len(boxes)]
    second = [len(sizes) > 1 and sizes[-2] >= SECOND_HEIGHT * sizes[-1] for sizes in heights]
    return float(np.mean(second)) if second else 0.0


def detect_sparsely(
    frames: Iterable[np.ndarray], detector: Detector, batch_size: int, closely: bool = False
) -> Iterator[np.ndarray]:
    """As find_faces(), but detected in some frames only, and interpolated where these agree.

    closely: check those that move, so that nearly all are within a pixel of what is detected in every frame.
    """
    batches = _Batches(detector, batch_size)
    block: list[np.ndarray] = []
    last: list[np.ndarray] = []  # the faces of the block's first frame, where they are known
    for frame in frames:
        block.append(frame)
        if len(block) == KEY_STEP * batch_size + 1:
            found = _detect_block(block, last, batches, closely)
            yield from found[:-1]
            block, last = block[-1:], found[-1:]  # the last key frame of this block is the first of the next
    if block:
        yield from _detect_block(block, last, batches, closely)


def _detect_block(
    block: list[np.ndarray], first: list[np.ndarray], batches: _Batches, closely: bool
) -> list[np.ndarray]:
    """first: the faces of the first frame, where they are known."""
    found = dict(enumerate(first))

    def detect(numbers: list[int]) -> None:
        found.update(zip(numbers, batches.detect([block[n] for n in numbers]), strict=True))

    keys = sorted({*range(0, len(block), KEY_STEP), len(block) - 1})
    detect([key for key in keys if key not in found])
    unsure: list[int] = []
    moving: list[tuple[int, dict[int, np.ndarray]]] = []  # middle frame, faces on a straight line
    for left, right in pairwise(keys):
        between = _interpolated(block, left, right, found[left], found[right])
        if between is None:
            unsure += range(left + 1, right)
        elif closely and between and _apart(found[left], found[right]) > STILL:
            moving.append(((left + right) // 2, between))
        else:
            found |= between
    detect([middle for middle, _ in moving])
    for middle, between in moving:
        if _apart(found[middle], between[middle]) > STRAIGHT:
            unsure += between.keys() - {middle}
        else:
            found |= between | {middle: found[middle]}
    detect(sorted(unsure))
    return [found[n] for n in range(len(block))]


def _interpolated(
    block: list[np.ndarray], left: int, right: int, ours: np.ndarray, theirs: np.ndarray
) -> dict[int, np.ndarray] | None:
    """Faces of the frames between two key frames; None where they must be detected."""
    if len(ours) != len(theirs):
        return None
    numbers = range(left + 1, right)
    if not len(ours):
        still = all(cv2.absdiff(block[n], block[left]).mean() < EMPTY_CHANGE for n in numbers)
        return dict.fromkeys(numbers, ours) if still else None
    overlap = overlaps(ours, theirs)
    rows, columns = assigned(overlap)
    if overlap[rows, columns].min() < STEADY_IOU:
        return None
    theirs = theirs[columns]
    between = {n: ours + (theirs - ours) * np.float32((n - left) / (right - left)) for n in numbers}
    known = _patches(block[left], ours), _patches(block[right], theirs)
    for n, faces in between.items():
        seen = _patches(block[n], faces)
        if np.maximum(*((seen * patches).sum(axis=1) for patches in known)).min() < LIKE:
            return None
    return between


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pixels by which the sides of the same faces differ at most; infinite where these are not the same faces."""
    if len(ours) != len(theirs):
        return float("inf")
    rows, columns = assigned(overlaps(ours, theirs))
    return float(np.abs(ours[rows, :4] - theirs[columns, :4]).max(initial=0))


def _patches(image: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Thumbnails of faces, grey, without their mean and of unit length: [N, PATCH²]."""
    patches = []
    for x1, y1, x2, y2 in faces[:, :4]:
        centre, size = ((x1 + x2) / 2, (y1 + y2) / 2), (max(2, round(x2 - x1)), max(2, round(y2 - y1)))
        patch = cv2.getRectSubPix(image, size, (float(centre[0]), float(centre[1])))
        patches.append(_thumbnail(patch))
    return np.stack(patches)


def resembles(face: np.ndarray, other: np.ndarray) -> bool:
    """Whether two crops, BGR uint8, can be of one face shortly after each other."""
    return float(_thumbnail(face) @ _thumbnail(other)) > LIKE


def _thumbnail(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(cv2.resize(image, (PATCH, PATCH), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    values = grey.astype(np.float32).ravel() - grey.mean()
    return values / (np.linalg.norm(values) + 1e-6)


class CutFinder:
    """Finds hard cuts in the frames that pass through watch().

    changes: float64, how much each frame but the first differs from the one before."""

    def __init__(self) -> None:
        self.changes = array("d")
        self._last: np.ndarray | None = None  # thumbnail
        self._reformatter = VideoReformatter()

    def watch(self, frames: Iterable[Frame]) -> Generator[Frame, None, None]:
        """Pass on BGR uint8 images, or decoded pictures, for which this takes a quarter of the time."""
        for frame in frames:
            thumbnail = self._thumbnail(frame).astype(np.int16)
            if self._last is not None:
                self.changes.append(float(np.abs(thumbnail - self._last).mean()))
            self._last = thumbnail
            yield frame

    def _thumbnail(self, frame: np.ndarray | av.VideoFrame) -> np.ndarray:
        if isinstance(frame, np.ndarray):
            return cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA)
        small = self._reformatter.reformat(frame, *THUMBNAIL, format="bgr24", interpolation=AVERAGED, threads=1)
        return small.to_ndarray()

    def cuts(self) -> list[int]:
        return cuts_at(np.array(self.changes))


def cuts_at(changes: np.ndarray) -> list[int]:
    """Numbers of the frames that begin a new shot, without 0. changes: as in CutFinder.

    The change towards such a frame stands alone: motion changes neighbouring frames alike, and a flash comes and goes.
    """
    found = []
    for i in np.flatnonzero(changes > CUT_LEVELS):
        around = np.concatenate((changes[max(0, i - CUT_NEIGHBOURS) : i], changes[i + 1 : i + 1 + CUT_NEIGHBOURS]))
        if changes[i] > CUT_TIMES * around.max(initial=0):
            found.append(int(i) + 1)
    return found
