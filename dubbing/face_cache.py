"""Faces of videos seen before, in the user's cache folder, found again by the file's content and the settings."""

import hashlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dubbing.source import TOLERANCE
from utils.files import cache_folder, sha256, write_bytes

FORMAT = 4  # of the files; a change forgets the old ones
DIGEST = 32  # bytes of a SHA-256


class CachedFaces(NamedTuple):
    """What was found in the frames of one play of a video.

    detections: float32 [N, 5] per frame (x1 y1 x2 y2 score), or [N, 15] with five landmarks, in pixels of the picture
    as it is dubbed; changes: float64 [T - 1], of which cuts are found (media/shots.py); times: float64 [T], of the
    frames, in seconds; seconds: up to which time the video was searched.
    """

    detections: list[np.ndarray]
    changes: np.ndarray
    times: np.ndarray
    seconds: float

    def within(self, seconds: float) -> "CachedFaces":
        """What there is up to a time, whatever was found later."""
        count = int(np.count_nonzero(self.times <= seconds - TOLERANCE))
        return CachedFaces(self.detections[:count], self.changes[: max(0, count - 1)], self.times[:count], seconds)


def cache_path(video: Path, settings: dict) -> Path:
    """The file for this video's content and these settings."""
    key = json.dumps([FORMAT, sha256(video), settings], sort_keys=True)
    return cache_folder("faces") / f"{hashlib.sha256(key.encode()).hexdigest()}.faces"


def read(path: Path, seconds: float) -> CachedFaces | None:
    """What is known of the first `seconds`; None where that is too little, or the file is damaged."""
    if not path.exists():
        return None
    content = path.read_bytes()
    digest, arrays = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(arrays).digest() != digest:
        return None
    with np.load(io.BytesIO(arrays), allow_pickle=False) as kept:
        if float(kept["seconds"]) < seconds:
            return None
        parts = np.split(kept["faces"], np.cumsum(kept["counts"])[:-1])
        return CachedFaces(parts, kept["changes"], kept["times"], float(kept["seconds"]))


def write(path: Path, faces: CachedFaces) -> None:
    """Keep them; the arrays come after their SHA-256, so that damage is noticed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    counts = [len(found) for found in faces.detections]
    arrays = {"faces": np.concatenate(faces.detections), "changes": faces.changes, "times": faces.times}
    np.savez_compressed(file, allow_pickle=False, counts=counts, seconds=faces.seconds, **arrays)
    write_bytes(path, hashlib.sha256(file.getvalue()).digest() + file.getvalue())
