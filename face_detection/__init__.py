"""Faces in video: frame -> boxes (S3FD, RetinaFace), boxes over time -> one steady track, box -> crop."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cli import InputError
from face_detection.boxes import LONGEST_SIDE, shrink, unscaled
from face_detection.retinaface import RetinaFace
from face_detection.s3fd import S3FD

__all__ = ["S3FD", "RetinaFace", "build_detector", "detect_all"]

S3FD_WEIGHTS = Path(__file__).parent / "detection" / "sfd" / "s3fd.pth"


def build_detector(name: str = "auto", device: str = "cpu", threads: int | None = None,
                   landmarks: bool = False):  # fmt: skip
    """The detector called `name`: "sfd", "retinaface", or "auto" for S3FD where its weights are, else RetinaFace.

    Its `name` says which it is. threads bounds RetinaFace's CPU threads; landmarks: see there. Raises InputError for
    sfd without its weights.
    """
    return RetinaFace(threads, landmarks) if choose(name) == "retinaface" else S3FD(S3FD_WEIGHTS, device)


def choose(name: str) -> str:
    """ "sfd" or "retinaface": what "auto" comes to here; the others are taken as they are."""
    if name not in ("auto", "sfd", "retinaface"):
        raise InputError(f"face detector {name}: choose auto, sfd or retinaface")
    if name == "sfd" and not S3FD_WEIGHTS.exists():
        raise InputError(f"{S3FD_WEIGHTS}: not there; run `python weights.py fetch s3fd` or use retinaface")
    return name if name != "auto" else "sfd" if S3FD_WEIGHTS.exists() else "retinaface"


def detect_all(frames: Iterable[np.ndarray], detector, batch_size: int) -> Iterator[np.ndarray]:
    """Boxes of every frame of one video, float32 [N, 5] each, in order.

    Frames (BGR uint8, one size) are reduced as they come, so that a batch of large ones takes little memory.
    """
    batch, scale = [], 1.0
    for frame in frames:
        small, scale = shrink(frame, LONGEST_SIDE)
        batch.append(small)
        if len(batch) == batch_size:
            yield from (unscaled(boxes, scale) for boxes in detector.detect(batch))
            batch = []
    if batch:
        yield from (unscaled(boxes, scale) for boxes in detector.detect(batch))
