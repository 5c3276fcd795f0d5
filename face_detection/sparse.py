"""Faces in every frame from detections in some: key frames, and all frames between two that do not agree.

frames      0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
key         K              K              K              K
agree       |--- yes: ------|--- no: -------|--- moved: ---|
            | interpolated  | all detected  | checked at M |
                                                  M

Where faces are wanted within a pixel, a face that has moved from one key frame to the next is also looked for in the
middle frame; all between are detected unless it is where a straight line would have it.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import cv2
import numpy as np

from face_detection.boxes import Detector, assigned, overlaps

KEY_STEP = 5  # frames from one key frame to the next
STEADY_IOU = 0.75  # faces in neighbouring key frames are the same, and hardly moved
PATCH = 12  # pixels, side of the thumbnail that a face between key frames is recognised by
LIKE = 0.85  # least correlation of two thumbnails of one face
STILL = 2.0  # pixels that a side may move between key frames without a check, where faces are wanted closely
STRAIGHT = 1.0  # pixels that a checked one may be off
EMPTY_CHANGE = 6.0  # levels, of 255, by which a frame between two without a face may differ from the first


def detect_sparsely(
    frames: Iterable[np.ndarray], detector: Detector, batch_size: int, closely: bool = False
) -> Iterator[np.ndarray]:
    """Faces of every frame, float32 [N, 5 or more] each, in order; frames: BGR uint8 of one size, already reduced.

    closely: check those that move, so that nearly all are within a pixel of what is detected in every frame.
    """
    block: list[np.ndarray] = []
    last: list[np.ndarray] = []  # the faces of the block's first frame, where they are known
    for frame in frames:
        block.append(frame)
        if len(block) == KEY_STEP * batch_size + 1:
            found = _detect_block(block, last, detector, batch_size, closely)
            yield from found[:-1]
            block, last = block[-1:], found[-1:]  # the last key frame of this block is the first of the next
    if block:
        yield from _detect_block(block, last, detector, batch_size, closely)


def _detect_block(
    block: list[np.ndarray], first: list[np.ndarray], detector: Detector, batch_size: int, closely: bool
) -> list[np.ndarray]:
    """first: the faces of the first frame, where they are known."""
    keys = sorted({*range(0, len(block), KEY_STEP), len(block) - 1})
    found = dict(enumerate(first))
    _detect(block, [key for key in keys if key not in found], found, detector, batch_size)
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
    _detect(block, [middle for middle, _ in moving], found, detector, batch_size)
    for middle, between in moving:
        if _apart(found[middle], between[middle]) > STRAIGHT:
            unsure += between.keys() - {middle}
        else:
            found |= between | {middle: found[middle]}
    _detect(block, sorted(unsure), found, detector, batch_size)
    return [found[n] for n in range(len(block))]


def _detect(
    block: list[np.ndarray], numbers: list[int], found: dict[int, np.ndarray], detector: Detector, batch_size: int
) -> None:
    for first in range(0, len(numbers), batch_size):
        batch = numbers[first : first + batch_size]
        found.update(zip(batch, detector.detect([block[n] for n in batch]), strict=True))


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
