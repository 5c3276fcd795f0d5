"""Faces in video: frame -> boxes (S3FD, RetinaFace), boxes over time -> one steady track, box -> crop."""

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import InputError
from utils.files import sha256

if TYPE_CHECKING:
    from face_detection.detectors import RetinaFace
    from face_detection.s3fd import S3FD

__all__ = ["DETECTORS", "S3FD", "RetinaFace", "build_detector", "choose_detector", "detector_identity"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime (detectors.py) would report each import to its makers

DETECTORS = ("auto", "sfd", "retinaface")
S3FD_WEIGHTS = Path(__file__).parent / "detection" / "sfd" / "s3fd.pth"

MODULES = {"S3FD": "face_detection.s3fd", "RetinaFace": "face_detection.detectors"}  # each needs a large package


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)


def build_detector(
    name: str = "auto", device: str = "cpu", threads: int | None = None, landmarks: bool = False
) -> "S3FD | RetinaFace":
    """The detector called `name`: "sfd", "retinaface", or "auto" for S3FD where its weights are, else RetinaFace.

    threads: most CPU threads; landmarks: of RetinaFace, see there. Raises InputError for sfd without its weights.
    """
    if choose_detector(name) == "retinaface":
        return __getattr__("RetinaFace")(threads, landmarks)
    return __getattr__("S3FD")(S3FD_WEIGHTS, device, threads)


def detector_identity(name: str) -> dict[str, str | float]:
    """What a detector ("sfd" or "retinaface") finds depends on: its name, the hash of its weights, its thresholds."""
    detector = __getattr__("S3FD" if name == "sfd" else "RetinaFace")
    weights = sha256(S3FD_WEIGHTS) if name == "sfd" else hashlib.sha256(detector.weights).hexdigest()
    return {"detector": name, "weights": weights, **detector.thresholds._asdict()}


def choose_detector(name: str) -> str:
    """ "sfd" or "retinaface": what "auto" comes to here; the others are taken as they are."""
    if name not in DETECTORS:
        raise InputError(f"face detector {name}: choose {', '.join(DETECTORS)}")
    if name == "sfd" and not S3FD_WEIGHTS.exists():
        raise InputError(f"{S3FD_WEIGHTS}: not found; run `python weights.py fetch s3fd` or use retinaface")
    if name == "auto":
        return "sfd" if S3FD_WEIGHTS.exists() else "retinaface"
    return name
