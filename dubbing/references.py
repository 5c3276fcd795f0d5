"""Pictures of the dubbed person from all over the video, which tell the refiner and the search for occlusion how that
person looks. They are kept while faces are looked for, or else in a pass of their own."""

from collections.abc import Callable

import numpy as np

from dubbing.paste import FaceRegion, upright_crop
from dubbing.source import TimedFrame

MOST_FRAMES, FEWEST_FRAMES = 100, 24
MOST_BYTES = 400_000_000  # that these frames may take, where there are more than the fewest


class FrameSampler:
    """Keeps frames of one play as they go by: evenly spaced, at most `most`, however long the video is.

    frame_bytes: what one takes in memory.
    """

    def __init__(self, frame_bytes: int) -> None:
        self.most = min(MOST_FRAMES, max(FEWEST_FRAMES, MOST_BYTES // frame_bytes))
        self.frames: list[TimedFrame] = []
        self._step = 1

    def add(self, frame: TimedFrame) -> None:
        if frame.number % self._step == 0 and len(self.frames) == self.most:
            self.frames, self._step = self.frames[::2], 2 * self._step
        if frame.number % self._step == 0:
            self.frames.append(frame)

    def crops(self, region_in: Callable[[int], FaceRegion | None]) -> list[np.ndarray]:
        """Upright crops of the face in those frames that show it, uint8 BGR [h, w, 3] of different sizes.

        region_in: frame number -> where the face is."""
        found = [(frame.picture, region_in(frame.number)) for frame in self.frames]
        return [upright_crop(picture, region) for picture, region in found if region is not None]
