"""How a generated mouth moves beside the true one: does it follow, does it move enough, has it lips and teeth.

Faces are crops of one size, uint8 BGR [N, S, S, 3], frame by frame. All is measured in the mouth's region, rows 56 to
91 and columns 22 to 73 of a crop of 96 pixels. Likeness alone (metrics/likeness.py) does not tell a mouth that hardly
moves, or has neither lips nor teeth, from one that talks: the mean of all mouths has a small L1.
"""

import numpy as np

TOP, BOTTOM, LEFT, RIGHT = 56 / 96, 92 / 96, 22 / 96, 74 / 96  # of the mouth's region, in parts of the crop
ARTICULATION = ("follows", "motion", "contrast")
SMALLEST = 0.01  # levels; what is divided by at least, so that a still or blank truth has a score


def mouth_region(faces: np.ndarray) -> np.ndarray:
    """The mouths of faces [N, S, S, 3], a view: [N, h, w, 3]."""
    height, width = faces.shape[1:3]
    rows, columns = (round(TOP * height), round(BOTTOM * height)), (round(LEFT * width), round(RIGHT * width))
    return faces[:, slice(*rows), slice(*columns)]


def region_l1(generated: np.ndarray, true: np.ndarray) -> float:
    """Mean absolute difference (of 0..1) in the mouth's region; mouth_l1 is of the whole lower half."""
    return float(np.abs(_levels(generated) - _levels(true)).mean() / 255)


def follows(generated: np.ndarray, true: np.ndarray, shots: np.ndarray | None = None) -> float:
    """Correlation, over all frames and pixels, of what changes: of the two mouths' differences from their own mean
    pictures of each shot. 1: every pixel changes as in truth; 0: the change has nothing to do with the true one, or
    there is none; below 0: the opposite. How much a mouth moves does not count, nor what changes at a hard cut."""
    first, second = (_changes(faces, shots) for faces in (generated, true))
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / length) if length else 0.0


def motion(generated: np.ndarray, true: np.ndarray, shots: np.ndarray | None = None) -> float:
    """How much the mouth moves: mean absolute difference of neighbouring frames of a shot, generated over true. 1 is
    right, 0 is still, flicker is above 1."""
    return _step(generated, shots) / max(_step(true, shots), SMALLEST)


def contrast(generated: np.ndarray, true: np.ndarray) -> float:
    """How much lips, teeth and skin differ: standard deviation of each mouth's pixels in each channel, mean over
    frames and channels, generated over true. 1 is right, less is pale or blurred."""
    return _deviation(generated) / max(_deviation(true), SMALLEST)


def articulation(generated: np.ndarray, true: np.ndarray, shots: np.ndarray | None = None) -> dict[str, float]:
    """The three scores by name, of faces as generated and the true ones; shots: int [N], the number of each frame's
    shot, where there are several."""
    scores = (follows(generated, true, shots), motion(generated, true, shots), contrast(generated, true))
    return dict(zip(ARTICULATION, scores, strict=True))


def _levels(faces: np.ndarray) -> np.ndarray:
    return mouth_region(faces).astype(np.float32)


def _by_shot(faces: np.ndarray, shots: np.ndarray | None) -> list[np.ndarray]:
    """The mouths' levels, float32 [n, h, w, 3], of each shot."""
    return np.split(_levels(faces), [] if shots is None else np.flatnonzero(np.diff(shots)) + 1)


def _changes(faces: np.ndarray, shots: np.ndarray | None) -> np.ndarray:
    return np.concatenate([levels - levels.mean(axis=0) for levels in _by_shot(faces, shots)])


def _step(faces: np.ndarray, shots: np.ndarray | None) -> float:
    steps = np.concatenate([np.abs(np.diff(levels, axis=0)) for levels in _by_shot(faces, shots)])
    return float(steps.mean()) if len(steps) else 0.0


def _deviation(faces: np.ndarray) -> float:
    return float(_levels(faces).std(axis=(1, 2)).mean())
