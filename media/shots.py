"""Hard cuts in a video."""

from array import array
from collections.abc import Generator, Iterable

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

THUMBNAIL = (32, 18)  # pixels, width and height
CUT_LEVELS = 4.0  # mean change of a thumbnail, of 255, at a cut ...
CUT_TIMES = 3.0  # ... and so many times the largest change around it
AROUND = 5  # frames
AVERAGED = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class CutFinder:
    """Watches the frames of a video go by and knows afterwards where a new shot began.

    changes: float64, how much each frame but the first differs from the one before it."""

    def __init__(self) -> None:
        self.changes = array("d")
        self._last: np.ndarray | None = None  # thumbnail
        self._reformatter = VideoReformatter()

    def watch(self, images: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Pass on BGR uint8 images."""
        for image in images:
            self._note(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA))
            yield image

    def watch_pictures(self, pictures: Iterable[av.VideoFrame]) -> Generator[av.VideoFrame, None, None]:
        """The same of decoded pictures, which takes a quarter of the time."""
        for picture in pictures:
            self._note(self._thumbnail(picture))
            yield picture

    def _thumbnail(self, picture: av.VideoFrame) -> np.ndarray:
        small = self._reformatter.reformat(picture, *THUMBNAIL, format="bgr24", interpolation=AVERAGED, threads=1)
        return small.to_ndarray()

    def _note(self, thumbnail: np.ndarray) -> None:
        thumbnail = thumbnail.astype(np.int16)
        if self._last is not None:
            self.changes.append(float(np.abs(thumbnail - self._last).mean()))
        self._last = thumbnail

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
