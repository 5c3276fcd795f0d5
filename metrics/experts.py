"""The lip-sync experts of this project as scorers: they say how well lips and speech fit.

An expert sees windows of five frames at 25 a second and 0.2 s of sound. The numbers in papers (LSE-D, LSE-C) are the
published SyncNet's (metrics/published_syncnet.py); its distances and an expert's cannot be compared.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import audio
from face_detection.crop import NO_PADS, crop, pad_and_clip, to_network_size
from hparams import HParams
from metrics.sync import WINDOWS_AT_ONCE, window_distances
from models.backend import ArrayNetwork, Backend, load
from utils.images import lower_half


class Expert:
    """A lip-sync expert of this project as a Scorer: distances 0 to 1.42, windows beyond the sound left out."""

    missing = np.nan
    good_confidence = 0.5

    def __init__(self, encoders: Sequence[ArrayNetwork], hp: HParams, name: str) -> None:
        """encoders: of faces and of mels, as backend.load has them; hp: the values that it was trained with."""
        self.face_encoder, self.mel_encoder = encoders
        self.hp, self.name = hp, name

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """uint8 BGR [96, 96, 3], cropped as in training; None where the box is outside the frame."""
        rect = pad_and_clip(box, NO_PADS, *image.shape[:2])
        return to_network_size(crop(image, rect), self.hp.img_size) if rect.usable else None

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """faces: uint8 BGR [N, S, S, 3]; starts: int [W], rows where five frames in a row start -> float32 [W, D]."""
        halves = lower_half(faces, height_axis=-3)

        def embed(rows: np.ndarray) -> np.ndarray:
            return self.face_encoder(picture_windows(halves, rows, self.hp.window_frames))

        return embed_in_batches(embed, starts)

    def embed_audio(self, wav: np.ndarray) -> np.ndarray:
        """float [samples] at hp.sample_rate -> float32 [F, D], for windows that start at frames 0 to F-1. Quiet speech
        is raised, as it is for a dub."""
        return self.embed_mel(audio.melspectrogram(audio.raise_quiet_speech(wav, self.hp)[0], self.hp))

    def embed_mel(self, mel: np.ndarray) -> np.ndarray:
        """mel: float32 [num_mels, columns] -> float32 [F, D], for windows that start at frames 0 to F-1."""
        hp, columns = self.hp, mel.shape[1]
        frames = int(columns / hp.mel_columns_per_second * hp.fps) + 1
        starts = [audio.window_mel_start(frame, hp) for frame in range(frames)]
        starts = [start for start in starts if start + hp.mel_window <= columns]

        def embed(some: Sequence[int]) -> np.ndarray:
            return self.mel_encoder(np.stack([mel[None, :, start : start + hp.mel_window] for start in some]))

        return embed_in_batches(embed, starts)

    def distances(self, faces: np.ndarray, starts: np.ndarray, times: np.ndarray, mel: np.ndarray) -> np.ndarray:
        """Distances of windows from the mel (float32 [num_mels, columns]) at every shift: float32 [W, 31], NaN where
        there is no mel. starts: see embed_faces; times: int [W], the windows' frame numbers in the sound's time."""
        return window_distances(self.embed_faces(faces, starts), times, self.embed_mel(mel), self.missing)


def load_expert(path: Path, backend: Backend) -> Expert:
    """The expert in a file, run by the backend. Raises InputError if the file does not hold one."""
    loaded = load("expert", path, backend)
    return Expert(loaded.networks, loaded.hp, f"SyncNet_color {path.name}")


def embed_in_batches(embed: Callable[[Any], np.ndarray], starts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Embeddings float32 [N, D] of the windows at `starts`; [0, 1] for none."""
    parts = [embed(starts[i : i + WINDOWS_AT_ONCE]) for i in range(0, len(starts), WINDOWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


def picture_windows(faces: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """Windows of `frames` pictures in a row: uint8 BGR [N, H, W, 3] and rows [W] at which windows start
    -> uint8 [W, frames, H, W, 3]."""
    return faces[np.asarray(starts)[:, None] + np.arange(frames)]
