"""Hard cuts in a video."""

from array import array
from collections.abc import Generator, Iterable

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
AROUND = 5  # frames


class CutFinder:
    """Watches the frames of a video go by and knows afterwards where a new shot began.

    changes: float64, how much each frame but the first differs from the one before it."""

    def __init__(self) -> None:
        self.changes = array("d")
        self._last: np.ndarray | None = None  # thumbnail

    def watch(self, images: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Pass on BGR uint8 images."""
        for image in images:
            thumbnail = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.int16)
            if self._last is not None:
                self.changes.append(float(np.abs(thumbnail - self._last).mean()))
            self._last = thumbnail
            yield image

    def cuts(self) -> list[int]:
        return cuts_at(np.array(self.changes))


def cuts_at(changes: np.ndarray) -> list[int]:
    """Numbers of the frames that begin a new shot, 0 not among them; changes: as in CutFinder.

    The change towards such a frame stands alone: motion changes neighbouring frames alike, and a flash comes and goes.
    """
    found = []
    for i in np.flatnonzero(changes > CUT_LEVELS):
        around = np.concatenate((changes[max(0, i - AROUND) : i], changes[i + 1 : i + 1 + AROUND]))
        if changes[i] > CUT_TIMES * around.max(initial=0):
            found.append(int(i) + 1)
    return found
