"""Networks that say how well lips and speech fit: what scorers are, and the lip-sync experts of this project.

A scorer sees windows of five frames at 25 a second and 0.2 s of sound, and embeds them. The numbers in papers (LSE-D,
LSE-C) are the published SyncNet's (metrics/scorers.py); distances of the two cannot be compared.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import audio
from face_detection.crop import NO_PADS, crop, pad_and_clip, to_network_size
from hparams import HParams
from metrics.sync_offset import window_distances
from models.backend import ArrayNetwork, Backend, load
from models.inputs import lower_half, picture_windows

if TYPE_CHECKING:
    import torch

    from utils.devices import Precision

BATCH = 64  # windows embedded at once


class Scorer(Protocol):
    """name: for people; missing: the values of an embedding where there is no sound."""

    name: str
    missing: float
    hp: HParams

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None: ...

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> np.ndarray: ...

    def embed_audio(self, wav: np.ndarray) -> np.ndarray: ...


class Expert:
    """A lip-sync expert of this project: distances 0 to 1.42, windows beyond the sound left out.

    encoders: of faces and of mels, as backend.load has them; hp: the values it was trained with; name: for people;
    missing: the values of an embedding where there is no sound; network: the SyncNet_color that the encoders belong to,
    None with OpenVINO.
    """

    missing = np.nan

    def __init__(self, encoders: Sequence[ArrayNetwork], hp: HParams, name: str, network: Any = None) -> None:
        self.face_encoder, self.mel_encoder = encoders
        self.hp, self.name, self.network = hp, name, network

    @classmethod
    def load(cls, path: Path, precision: "Precision") -> "Expert":
        """By PyTorch. Raises InputError where the file does not hold an expert."""
        from utils import weight_files

        return cls.from_content(path, weight_files.read(path), precision)

    @classmethod
    def from_content(cls, path: Path, content: dict, precision: "Precision") -> "Expert":
        """As load, from what weight_files.read returned."""
        from models import SyncNet_color
        from models.checkpoint import build_network

        network, hp = build_network(SyncNet_color, content, path)
        return cls.of(network, hp, precision, _name(path))

    @classmethod
    def of(cls, network: "torch.nn.Module", hp: HParams, precision: "Precision", name: str) -> "Expert":
        """A SyncNet_color, which moves to precision's device."""
        from models.torch_backend import runnable, wrap

        return cls(runnable("expert", wrap("expert", network.eval(), precision), precision), hp, name, network)

    def to(self, precision: "Precision") -> "Expert":
        """The same expert on another device, in another number format; the network moves with it."""
        return Expert.of(self.network, self.hp, precision, self.name)

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
    """The expert of a dub, run by the backend. Raises InputError where the file does not hold one."""
    loaded = load("expert", path, backend)
    return Expert(loaded.networks, loaded.hp, _name(path))


def embed_in_batches(embed: Callable[[Any], np.ndarray], starts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Embeddings float32 [N, D] of the windows at `starts`, of which embed() is given some at once; [0, 1] for none."""
    parts = [embed(starts[first : first + BATCH]) for first in range(0, len(starts), BATCH)]
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


def _name(path: Path) -> str:
    return f"SyncNet_color {path.name}"
