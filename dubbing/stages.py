"""What happens to the faces of a dub, stage by stage; every stage takes a batch of faces and changes it.

generate   a new face at the network's size, from the source face and the speech
own_pixels the person's own mouth from other moments of the video, where these fit (dubbing/own_pixels.py)
match      in the colours of the skin around
composite  through its mask into the picture

A frame comes with its face and the face's mask (dubbing/occlusion.py: Masks): how much of the new face is shown where,
by which composite, the sync score and the record go. Where nothing of it would be seen a frame has no face to dub.

Decoding runs in a thread, and so do the networks: for item in prefetch(decode(), 16) has decode() run up to 16 items
ahead, so memory is bounded.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dubbing.paste import FaceRegion, match_colours, paste_face
from dubbing.record import DUBBED, INTERPOLATED, UNCHANGED
from dubbing.source import TimedFrame
from face_detection.crop import resized
from hparams import hparams
from metrics.sync import Expert, SyncResult, WindowStream
from models.backend import ArrayNetwork

SCORED_STEP = 1 / hparams.fps  # seconds
Item = TypeVar("Item")
END: Any = object()


@dataclass
class FaceTask:
    """A face to dub in one frame; the stages change it."""

    frame: TimedFrame
    region: FaceRegion
    source_face: np.ndarray  # the crop that the generator takes, uint8 BGR [96, 96, 3]
    mask: np.ndarray  # float32 [96, 96], 0..1
    mel: np.ndarray  # float32 [num_mels, columns], what is said in this frame
    generated: np.ndarray  # the new face, uint8 [h, w, 3]; the source face until there is one
    own: float = 0.0  # how much of it comes from other moments of the video, 0..1


class FrameTask(NamedTuple):
    """One output frame, and what in it is to be dubbed."""

    frame: TimedFrame
    faces: list[FaceTask | None]  # one for every person of the dub, in their order; None where they are not dubbed

    @property
    def state(self) -> str:
        """As in dubbing/record.py."""
        states = {INTERPOLATED if face.region.interpolated else DUBBED for face in self.faces if face}
        return DUBBED if DUBBED in states else INTERPOLATED if states else UNCHANGED

    @property
    def loudest(self) -> FaceTask | None:
        """The face that speaks, of several."""
        shown = [face for face in self.faces if face]
        return max(shown, key=lambda face: float(face.mel.mean())) if len(shown) > 1 else next(iter(shown), None)


Stage = Callable[[list[FaceTask]], None]


def generate(generator: ArrayNetwork, faces: list[FaceTask]) -> None:
    generated = generator(np.stack([face.source_face for face in faces]), np.stack([face.mel[None] for face in faces]))
    for face, new in zip(faces, generated, strict=True):
        face.generated = new


def mixed(generated: np.ndarray, sharp: np.ndarray, share: float) -> np.ndarray:
    """A generated face and a sharper one, uint8 BGR, at the size of the latter: `share` of it, 0..1."""
    if share == 1:
        return sharp
    enlarged = resized(generated, sharp.shape[1], sharp.shape[0]).astype(np.float32)
    return np.rint(enlarged + share * (sharp - enlarged)).astype(np.uint8)


def match(faces: list[FaceTask]) -> None:
    for face in faces:
        face.generated = match_colours(face.generated, face.source_face)


def composite(face: FaceTask, style: str) -> None:
    """Change the picture of the face's frame."""
    frame = face.frame
    paste_face(frame.picture, face.region, face.generated, face.mask, style, face.own, frame.number)


class SyncMonitor:
    """Takes the faces of a dub at their own times and hands the nearest ones, 25 a second, to an expert.

    speech: float32 [F, D], its embeddings of the speech.
    """

    def __init__(self, expert: Expert, speech: np.ndarray) -> None:
        self._windows, self._speech = WindowStream(expert), speech
        self._added = 0  # frames handed on
        self._face: np.ndarray | None = None
        self._time, self._number = 0.0, -1

    def add(self, frame: TimedFrame, face: np.ndarray | None) -> None:
        """face: uint8 BGR [S, S, 3] as it will look in that frame; None without a face."""
        self._add_until((self._time + frame.time) / 2)
        if abs(frame.number - self._number) > 1:  # the video starts again; backwards it is continuous
            self._windows.flush()
        self._face, self._time, self._number = face, frame.time, frame.number

    def result(self) -> SyncResult | None:
        """The scores; None where too few frames were added."""
        self._finish()
        return self._windows.result(self._speech)

    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """As of WindowStream.distances()."""
        self._finish()
        return self._windows.distances(self._speech)

    def _finish(self) -> None:
        self._add_until(self._time + SCORED_STEP / 100)
        self._windows.flush()

    def _add_until(self, time: float) -> None:
        while self._added * SCORED_STEP < time - 1e-6:
            self._windows.add(self._added, self._face)
            self._added += 1


def prefetch(
    items: Generator[Item, None, None], size: int, timer: Callable[[], AbstractContextManager] = nullcontext
) -> Generator[Item, None, None]:
    """The same items, made in a thread that is at most `size` of them ahead; an error in making one is raised where it
    is wanted. timer: around the making of each."""
    thread = ThreadPoolExecutor(1, "prefetch")
    waiting: deque[Future] = deque()

    def make() -> Item:
        with timer():
            return next(items, END)

    try:
        while True:
            while len(waiting) < size:
                waiting.append(thread.submit(make))
            item = waiting.popleft().result()
            if item is END:
                return
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()
