"""Hard cuts in a video."""

from array import array
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
AROUND = 5  # frames


class CutFinder:
    """Watches the frames of a video go by and knows afterwards where a new shot began. Keeps one number a frame."""

    def __init__(self) -> None:
        self._changes = array("d")  # towards frames 1 to T - 1
        self._last: np.ndarray | None = None  # thumbnail

    def watch(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass on BGR uint8 images."""
        for image in images:
            thumbnail = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.int16)
            if self._last is not None:
                self._changes.append(float(np.abs(thumbnail - self._last).mean()))
            self._last = thumbnail
            yield image

    def cuts(self) -> list[int]:
        """Numbers of the frames that begin a new shot, 0 not among them.

        The change towards such a frame stands alone: motion changes neighbouring frames alike, and a flash comes and
        goes.
        """
        change = np.array(self._changes)
        found = []
        for i in np.flatnonzero(change > CUT_LEVELS):
            around = np.concatenate((change[max(0, i - AROUND) : i], change[i + 1 : i + 1 + AROUND]))
            if change[i] > CUT_TIMES * around.max(initial=0):
                found.append(int(i) + 1)
        return found
