"""What footage is like: hard cuts, how many people, how sharp."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
AROUND = 5  # frames
SECOND_FACE = 0.5  # height, as a part of the largest face's, from which on another counts


class CutFinder:
    """Watches the frames of a video go by and knows afterwards where a new shot began."""

    def __init__(self):
        self.thumbnails: list[np.ndarray] = []

    def watch(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass on BGR uint8 images."""
        for image in images:
            self.thumbnails.append(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA))
            yield image

    def cuts(self) -> list[int]:
        """Numbers of the frames that begin a new shot, 0 not among them.

        The change towards such a frame stands alone: motion changes neighbouring frames alike, and a flash comes and
        goes.
        """
        if len(self.thumbnails) < 2:
            return []
        frames = np.stack(self.thumbnails).astype(np.int16)
        change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))  # [T - 1], towards frames 1 to T - 1
        found = []
        for i in np.flatnonzero(change > CUT_LEVELS):
            around = np.concatenate((change[max(0, i - AROUND) : i], change[i + 1 : i + 1 + AROUND]))
            if change[i] > CUT_TIMES * around.max(initial=0):
                found.append(int(i) + 1)
        return found


def several_people(detections: list[np.ndarray]) -> float:
    """Share of the frames with a face in which there is a second one of comparable size.

    detections: float32 [N, 5] (x1 y1 x2 y2 score) of every frame.
    """
    heights = [np.sort(boxes[:, 3] - boxes[:, 1]) for boxes in detections if len(boxes)]
    second = [len(sizes) > 1 and sizes[-2] >= SECOND_FACE * sizes[-1] for sizes in heights]
    return float(np.mean(second)) if second else 0.0


def sharpness(faces: np.ndarray) -> float:
    """Variance of the Laplacian of grey levels (0..255), mean over faces: uint8 BGR [N, S, S, 3]."""
    return float(np.mean([cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var() for f in faces]))
