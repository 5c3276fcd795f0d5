"""The stage that refines: which faces are, from which references. The references are crops of the person from all over
the video, which also tell the search for occlusion how that person looks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dubbing.paste import FaceRegion, upright_crop
from dubbing.source import TimedFrame
from dubbing.stages import FaceTask
from face_detection.crop import resized
from models.face_refiner import FaceRefiner
from models.reference_bank import ReferenceBank, choose_spread, describe
from utils.errors import warn
from utils.images import lower_half, sharpness

# Faces of the network's size gain nothing; those this many times as large are refined fully
FADED_IN = 4 / 3
COMPARED_EVERY = 4  # every so many faces one is compared with the bank of a person
FACES_BEFORE_WARNING = 12  # faces, after which it is said whether this is another person
# Of ReferenceBank.distances, as the median over faces: from here on they are taken for another person's
ANOTHER_PERSON = 1.5
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


class Refine:
    """refiner: of a person or of anyone; bank: its references; frames: how many it has refined; distances: of some of
    them from the bank of a person."""

    def __init__(self, refiner: FaceRefiner, bank: ReferenceBank) -> None:
        self.refiner, self.bank, self.frames = refiner, bank, 0
        self.distances: list[float] = []

    def __call__(self, faces: list[FaceTask]) -> list[FaceTask]:
        rows = [row for row, face in enumerate(faces) if face.sharp is not None]
        if not rows:
            return faces
        generated, sharp = (np.stack([getattr(faces[row], name) for row in rows]) for name in ("generated", "sharp"))
        if self.refiner.bank:
            self.compare_with_person(sharp[-self.frames % COMPARED_EVERY :: COMPARED_EVERY])
        self.frames += len(rows)
        done = list(faces)
        for row, refined in zip(rows, self.refiner(generated, sharp, self.bank), strict=True):
            share = refined_share(faces[row].region.rect.height, len(faces[row].source_face))
            done[row] = faces[row]._replace(generated=_mixed(faces[row].generated, refined, share), refined=share)
        return done

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


def _mixed(generated: np.ndarray, refined: np.ndarray, share: float) -> np.ndarray:
    if share == 1:
        return refined
    enlarged = resized(generated, len(refined), len(refined)).astype(np.float32)
    return np.rint(enlarged + share * (refined - enlarged)).astype(np.uint8)
