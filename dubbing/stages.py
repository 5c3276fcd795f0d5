"""What happens to the faces of a dub, stage by stage; every stage takes a batch of faces and returns it, changed.

generate   a new face at the network's size, from the shown one and the speech
refine     the same at the footage's resolution            (dubbing/refining.py)
match      in the colours of the skin around
composite  through its mask into the picture

A frame comes with its face and the face's mask (dubbing/reading.py): how much of the new face is shown where, which
composite, the sync score and the record go by. Where nothing of it would be seen a frame has no face to dub.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dubbing.paste import FaceRegion, blend, match_colours, paste_face
from dubbing.record import StageTimer
from dubbing.source import TimedFrame
from models.engines.generator import GeneratorEngine


class FaceTask(NamedTuple):
    """A face to dub in one frame.

    shown: the crop that the generator takes, uint8 BGR [96, 96, 3]; mask: float32 [96, 96], 0..1; sharp: the crop at
    the refiner's size, where it is to be refined; mel_start: column at which its mel window begins; generated: the new
    face, uint8 [S, S, 3], until there is one the shown; refined: how much of it comes from the refiner, 0..1.
    """

    frame: TimedFrame
    region: FaceRegion
    shown: np.ndarray
    mask: np.ndarray
    sharp: np.ndarray | None
    mel_start: int
    generated: np.ndarray
    refined: float = 0.0


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

    def __init__(self, generator: GeneratorEngine, mel: np.ndarray, window: int) -> None:
        self.generator, self.mel, self.window = generator, mel, window

    def __call__(self, faces: list[FaceTask]) -> list[FaceTask]:
        mels = [self.mel[None, :, face.mel_start : face.mel_start + self.window] for face in faces]
        generated = self.generator(np.stack([face.shown for face in faces]), np.stack(mels))
        return [face._replace(generated=new) for face, new in zip(faces, generated, strict=True)]


def dub_stages(generate: Generate, refine: Stage | None, style: str) -> dict[str, Stage]:
    """What makes the new faces, in its order. style: of dubbing/paste.py."""
    stages: dict[str, Stage] = {"generate": generate}
    stages |= {"refine": refine} if refine else {}
    return stages | ({"match": match} if style == "soft" else {})


def match(faces: list[FaceTask]) -> list[FaceTask]:
    return [face._replace(generated=match_colours(face.generated, face.shown)) for face in faces]


def composited(face: FaceTask) -> np.ndarray:
    """The face as it will look in the picture, at the network's size."""
    return blend(face.generated, face.shown, face.mask)


class Composite:
    """Changes the pictures of the faces' frames."""

    def __init__(self, style: str) -> None:
        self.style = style

    def __call__(self, faces: list[FaceTask]) -> list[FaceTask]:
        for face in faces:
            picture, number = face.frame.picture, face.frame.number
            paste_face(picture, face.region, face.generated, face.mask, self.style, face.refined, number)
        return faces
