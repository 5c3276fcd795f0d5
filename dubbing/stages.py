"""What happens to the faces of a dub, stage by stage; every stage takes a batch of faces and returns it, changed.

generate   a new face at the network's size, from the source face and the speech
refine     the same at the footage's resolution            (dubbing/refining.py)
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
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dubbing.paste import FaceRegion, blend, match_colours, paste_face
from dubbing.record import StageTimer
from dubbing.source import TimedFrame
from hparams import hparams
from metrics.experts import Expert
from metrics.sync import SyncResult, WindowStream
from models.backend import ArrayNetwork

SCORED_STEP = 1 / hparams.fps  # seconds
Item = TypeVar("Item")
END: Any = object()


class FaceTask(NamedTuple):
    """A face to dub in one frame."""

    frame: TimedFrame
    region: FaceRegion
    source_face: np.ndarray  # the crop that the generator takes, uint8 BGR [96, 96, 3]
    mask: np.ndarray  # float32 [96, 96], 0..1
    sharp: np.ndarray | None  # the crop at the refiner's size, where it is to be refined
    mel_start: int  # column at which its mel window begins
    generated: np.ndarray  # the new face, uint8 [S, S, 3]; the source face until there is one
    refined: float = 0.0  # how much of it comes from the refiner, 0..1


class FrameTask(NamedTuple):
    """One output frame, in one of the states of dubbing/record.py, and what in it is to be dubbed."""

    frame: TimedFrame
    state: str
    face: FaceTask | None


Stage = Callable[[list[FaceTask]], list[FaceTask]]


def run_stages(tasks: list[FrameTask], stages: dict[str, Stage], timer: StageTimer) -> list[FrameTask]:
    """The tasks, their faces having been through all stages."""
    faces = [task.face for task in tasks if task.face]
    for name, stage in stages.items():
        with timer(name):
            faces = stage(faces) if faces else []
    done = iter(faces)
    return [task._replace(face=next(done)) if task.face else task for task in tasks]


class Generate:
    """mel: float32 [num_mels, columns], of the speech; window: columns of one frame's."""

    def __init__(self, generator: ArrayNetwork, mel: np.ndarray, window: int) -> None:
        self.generator, self.mel, self.window = generator, mel, window

    def __call__(self, faces: list[FaceTask]) -> list[FaceTask]:
        mels = [self.mel[None, :, face.mel_start : face.mel_start + self.window] for face in faces]
        generated = self.generator(np.stack([face.source_face for face in faces]), np.stack(mels))
        return [face._replace(generated=new) for face, new in zip(faces, generated, strict=True)]


def match(faces: list[FaceTask]) -> list[FaceTask]:
    return [face._replace(generated=match_colours(face.generated, face.source_face)) for face in faces]


def composited(face: FaceTask) -> np.ndarray:
    """The face as it will look in the picture, at the network's size."""
    return blend(face.generated, face.source_face, face.mask)


class Composite:
    """Changes the pictures of the faces' frames."""

    def __init__(self, style: str) -> None:
        self.style = style

    def __call__(self, faces: list[FaceTask]) -> list[FaceTask]:
        for face in faces:
            picture, number = face.frame.picture, face.frame.number
            paste_face(picture, face.region, face.generated, face.mask, self.style, face.refined, number)
        return faces


class SyncMonitor:
    """Takes the faces of a dub at their own times and hands the nearest ones, 25 a second, to an expert.

    mel: float32 [num_mels, columns], of the speech.
    """

    def __init__(self, expert: Expert, mel: np.ndarray) -> None:
        self._windows, self._speech = WindowStream(expert), expert.embed_mel(mel)
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
        self._add_until(self._time + SCORED_STEP / 100)
        self._windows.flush()
        return self._windows.result(self._speech)

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
