"""Faces of videos seen before, in the user's cache folder, found again by the file's content and the settings."""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs

from utils.files import atomic_write, sha256

FORMAT = 2  # of the files; a change forgets the old ones
FOLDER = "WAV2LIP_CACHE"  # environment variable that names another folder


class CachedFaces(NamedTuple):
    """What was found in the frames of one play of a video.

    detections: float32 [N, 5] per frame (x1 y1 x2 y2 score), or [N, 15] with five landmarks, in pixels of the picture
    as it is dubbed; cuts: frames that begin a new shot; seconds: up to which time the video was searched.
    """

    detections: list[np.ndarray]
    cuts: list[int]
    seconds: float


def cache_folder() -> Path:
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path(platformdirs.user_cache_dir("wav2lip", appauthor=False)) / "faces"


def cache_path(video: Path, settings: dict) -> Path:
    """The file for this video's content and these settings."""
    key = json.dumps([FORMAT, sha256(video), settings], sort_keys=True)
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"


def read(path: Path, seconds: float) -> CachedFaces | None:
    """What is known of the first `seconds`; None where that is too little, or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            known = float(content["seconds"])
            parts = np.split(content["faces"], np.cumsum(content["counts"])[:-1])
            cuts = content["cuts"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return CachedFaces(parts, cuts, known) if known >= seconds else None


def write(path: Path, faces: CachedFaces) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    counts, cuts = [len(found) for found in faces.detections], np.array(faces.cuts, np.int64)
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, faces=np.concatenate(faces.detections), counts=counts, cuts=cuts, seconds=faces.seconds
        )
