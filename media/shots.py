"""Hard cuts in a video."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
AROUND = 5  # frames


class CutFinder:
    """Watches the frames of a video go by and knows afterwards where a new shot began."""

    def __init__(self) -> None:
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
