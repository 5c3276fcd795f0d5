"""Detections of videos seen before, in the user's cache folder, found again by the file's content and the settings."""

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

FORMAT = 1  # of the files; a change forgets the old ones
FOLDER = "WAV2LIP_CACHE"  # environment variable that names another folder


class Faces(NamedTuple):
    """What was found in the frames of one play of a video.

    detections: float32 [N, 5] per frame (x1 y1 x2 y2 score), or [N, 15] with five landmarks, in pixels of the picture
    as it is dubbed; cuts: frames that begin a new shot; seconds: how far was looked.
    """

    detections: list[np.ndarray]
    cuts: list[int]
    seconds: float


def folder() -> Path:
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path(platformdirs.user_cache_dir("wav2lip", appauthor=False)) / "faces"


def place(video: Path, settings: dict) -> Path:
    """The file for this content and these settings."""
    with video.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps([FORMAT, settings], sort_keys=True).encode())
    return folder() / f"{digest.hexdigest()}.npz"


def read(path: Path, seconds: float) -> Faces | None:
    """What is known of the first `seconds`; None where that is too little, or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            known = float(content["seconds"])
            parts = np.split(content["faces"], np.cumsum(content["counts"])[:-1])
            cuts = content["cuts"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Faces(parts, cuts, known) if known >= seconds else None


def write(path: Path, faces: Faces) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        np.savez_compressed(
            part, faces=np.concatenate(faces.detections), counts=[len(found) for found in faces.detections],
            cuts=np.array(faces.cuts, np.int64), seconds=faces.seconds,
        )  # fmt: skip
    os.replace(part.name, path)
