"""What happens to the faces of a dub, stage by stage; every stage takes a batch of faces and changes it.

generate   a new face at the network's size, from the source face and the speech
refine     the same at the footage's resolution, from crops of the person from all over the video
match      in the colours of the skin around
composite  through its mask into the picture

A frame comes with its face and the face's mask (dubbing/occlusion.py: Masks): how much of the new face is shown where,
by which composite, the sync score and the record go. Where nothing of it would be seen a frame has no face to dub.

Decoding runs in a thread, and so do the networks: for item in prefetch(decode(), 16) has decode() run up to 16 items
ahead, so memory is bounded.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
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
from models.face_refiner import FaceRefiner, ReferenceBank, choose_spread, describe
from utils.errors import warn
from utils.images import lower_half, sharpness

SCORED_STEP = 1 / hparams.fps  # seconds
# Faces of the network's size gain nothing; those this many times as large are refined fully
FADED_IN = 4 / 3
COMPARED_EVERY = 4  # every so many faces one is compared with the bank of a person
FACES_BEFORE_WARNING = 12  # faces, after which it is said whether this is another person
# Of ReferenceBank.distances, as the median over faces: from here on they are taken for another person's
ANOTHER_PERSON = 1.5
Item = TypeVar("Item")
END: Any = object()


@dataclass
class FaceTask:
    """A face to dub in one frame; the stages change it."""

    frame: TimedFrame
    region: FaceRegion
    source_face: np.ndarray  # the crop that the generator takes, uint8 BGR [96, 96, 3]
    mask: np.ndarray  # float32 [96, 96], 0..1
    sharp: np.ndarray | None  # the crop at the refiner's size, where it is to be refined
    mel_start: int  # column at which its mel window begins
    generated: np.ndarray  # the new face, uint8 [S, S, 3]; the source face until there is one
    refined: float = 0.0  # how much of it comes from the refiner, 0..1


class FrameTask(NamedTuple):
    """One output frame, and what in it is to be dubbed."""

    frame: TimedFrame
    face: FaceTask | None

    @property
    def state(self) -> str:
        """As in dubbing/record.py."""
        return UNCHANGED if self.face is None else INTERPOLATED if self.face.region.interpolated else DUBBED


Stage = Callable[[list[FaceTask]], None]


class Generate:
    """mel: float32 [num_mels, columns], of the speech; window: columns of one frame's."""

    def __init__(self, generator: ArrayNetwork, mel: np.ndarray, window: int) -> None:
        self.generator, self.mel, self.window = generator, mel, window

    def __call__(self, faces: list[FaceTask]) -> None:
        mels = [self.mel[None, :, face.mel_start : face.mel_start + self.window] for face in faces]
        generated = self.generator(np.stack([face.source_face for face in faces]), np.stack(mels))
        for face, new in zip(faces, generated, strict=True):
            face.generated = new


class Refine:
    """refiner: of a person or of anyone; bank: its references; frames: how many it has refined; distances: of some of
    them from the bank of a person."""

    def __init__(self, refiner: FaceRefiner, bank: ReferenceBank) -> None:
        self.refiner, self.bank, self.frames = refiner, bank, 0
        self.distances: list[float] = []

    def __call__(self, faces: list[FaceTask]) -> None:
        faces = [face for face in faces if face.sharp is not None]
        if not faces:
            return
        sharp = np.stack([face.sharp for face in faces])  # type: ignore[misc]
        if self.refiner.bank:
            self.compare_with_person(sharp[-self.frames % COMPARED_EVERY :: COMPARED_EVERY])
        self.frames += len(faces)
        generated = np.stack([face.generated for face in faces])
        for face, refined in zip(faces, self.refiner(generated, sharp, self.bank), strict=True):
            face.refined = refined_share(face.region.rect.height, len(face.source_face))
            face.generated = mixed(face.generated, refined, face.refined)

    def compare_with_person(self, faces: np.ndarray) -> None:
        """Compare faces, uint8 BGR [B, S, S, 3], with the person's, and warn once where they seem to be another's."""
        before = len(self.distances)
        self.distances += self.bank.distances(faces).tolist() if len(faces) else []
        if before < FACES_BEFORE_WARNING <= len(self.distances) and np.median(self.distances) > ANOTHER_PERSON:
            warn(
                f"{self.refiner.path}: is a refiner of another person, or of the same in quite another light or view: "
                "this face is unlike all pictures it has; add --refine off, or train one of this person"
            )

    def record(self) -> dict[str, Any]:
        """What the dub's record says of it."""
        references = "person" if self.refiner.bank else "video"
        size = self.refiner.size
        distance = round(float(np.median(self.distances)), 3) if self.distances else None
        return {
            "file": str(self.refiner.path), "size": size, "references": references, "frames": self.frames,
            "distance": distance,
        }  # fmt: skip


def refine_stage(refiner: FaceRefiner | None, crops: Sequence[np.ndarray]) -> Refine | None:
    """The stage of this refiner, None without one. crops: of the video, as for bank_of_video, for a refiner that comes
    without pictures of the person."""
    if refiner is None:
        return None
    if refiner.bank is None and not crops:
        warn("not refined: no picture of the face was found to take detail from")
        return None
    return Refine(refiner, refiner.bank or bank_of_video(crops, refiner.size, refiner.hp.refiner_bank))


def refined_share(height: int, network_size: int) -> float:
    """How much of a face of this height comes from the refiner: fading in with its size, so that faces whose boxes
    come and go over a limit do not flicker."""
    return float(np.clip((height / network_size - 1) / (FADED_IN - 1), 0, 1))


def bank_of_video(crops: Sequence[np.ndarray], size: int, count: int) -> ReferenceBank:
    """References from the dubbed video; crops: uint8 BGR [h, w, 3] of any sizes, at least one."""
    pictures = np.stack([resized(crop, size, size) for crop in crops])
    sharpnesses = np.array([sharpness(lower_half(picture, height_axis=-3)) for picture in pictures])
    return ReferenceBank(pictures[choose_spread(describe(pictures, pictures), sharpnesses, count)])


def mixed(generated: np.ndarray, refined: np.ndarray, share: float) -> np.ndarray:
    """A generated face and a sharper one, uint8 BGR, at the size of the latter: `share` of it, 0..1."""
    if share == 1:
        return refined
    enlarged = resized(generated, len(refined), len(refined)).astype(np.float32)
    return np.rint(enlarged + share * (refined - enlarged)).astype(np.uint8)


def match(faces: list[FaceTask]) -> None:
    for face in faces:
        face.generated = match_colours(face.generated, face.source_face)


def composite(face: FaceTask, style: str) -> None:
    """Change the picture of the face's frame."""
    frame = face.frame
    paste_face(frame.picture, face.region, face.generated, face.mask, style, face.refined, frame.number)


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
