"""Networks that say how well lips and speech fit: a lip-sync expert of this project, or the published SyncNet.

Both see windows of five frames at 25 a second and 0.2 s of sound, and embed them. The numbers in papers (LSE-D, LSE-C)
are the published SyncNet's (Chung and Zisserman, "Out of time", 2016); distances of the two cannot be compared.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import audio
from face_detection.crop import NO_PADS, crop, pad_and_clip, to_network_size
from hparams import HParams, hparams
from metrics.mfcc import mfcc
from metrics.sync_offset import window_distances
from models import SyncNet_color
from models.checkpoint import build_network
from models.inputs import expert_faces, picture_windows
from models.syncnet_v2 import SyncNet_v2
from utils import weight_files
from utils.devices import Precision, channels_last

BATCH = 64  # windows embedded at once
MFCC_COLUMNS, MFCC_COLUMNS_PER_FRAME = 20, 4
FACE_SIZE = 224  # pixels, of the published SyncNet's crops
FACE_MARGIN = 0.4  # part of the box's longer side that they show around it, all of it below
OUTSIDE = 110  # grey level where the frame has ended


class Expert:
    """A lip-sync expert of this project: distances 0 to 1.42, windows beyond the sound left out.

    network: SyncNet_color in eval mode; hp: the values it was trained with; precision: its device and number format;
    name: for people; missing: the values of an embedding where there is no sound.
    """

    missing = np.nan

    def __init__(self, network: torch.nn.Module, hp: HParams, precision: Precision, name: str) -> None:
        self.network: Any = channels_last(network.eval(), precision.device)
        self.hp, self.precision, self.name = hp, precision, name

    @classmethod
    def load(cls, path: Path, precision: Precision) -> "Expert":
        """Raises InputError where the file does not hold an expert."""
        return cls.from_content(path, weight_files.read(path, mapped=True), precision)

    @classmethod
    def from_content(cls, path: Path, content: dict, precision: Precision) -> "Expert":
        """As load, from what weight_files.read returned."""
        network, hp = build_network(SyncNet_color, content, path)
        return cls(network, hp, precision, f"SyncNet_color {path.name}")

    def to(self, precision: Precision) -> "Expert":
        """The same expert on another device, in another number format; the network moves with it."""
        return Expert(self.network, self.hp, precision, self.name)

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """uint8 BGR [96, 96, 3], cropped as in training; None where the box is outside the frame."""
        rect = pad_and_clip(box, NO_PADS, *image.shape[:2])
        return to_network_size(crop(image, rect), self.hp.img_size) if rect.usable else None

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """faces: uint8 BGR [N, S, S, 3]; starts: int [W], rows where five frames in a row start -> float32 [W, D]."""

        def inputs(rows: np.ndarray) -> torch.Tensor:
            windows = torch.from_numpy(picture_windows(faces, rows, self.hp.window_frames))
            return expert_faces(windows.float() / 255)

        return embed_in_batches(self.network.embed_faces, inputs, starts, self.precision)

    def embed_audio(self, wav: np.ndarray) -> torch.Tensor:
        """float [samples] at hp.sample_rate -> float32 [F, D], for windows that start at frames 0 to F-1. Quiet speech
        is raised, as it is for a dub."""
        gain = audio.speech_gain(audio.frame_powers([wav], self.hp), [wav], self.hp)
        return self.embed_mel(audio.melspectrogram(audio.amplified(wav, gain), self.hp))

    def embed_mel(self, mel: np.ndarray) -> torch.Tensor:
        """mel: float32 [num_mels, columns] -> float32 [F, D], for windows that start at frames 0 to F-1."""
        hp, columns = self.hp, mel.shape[1]
        frames = int(columns / hp.mel_columns_per_second * hp.fps) + 1
        starts = [audio.window_mel_start(frame, hp) for frame in range(frames)]
        starts = [start for start in starts if start + hp.mel_window <= columns]

        def inputs(some: Sequence[int]) -> torch.Tensor:
            return torch.from_numpy(np.stack([mel[None, :, start : start + hp.mel_window] for start in some]))

        return embed_in_batches(self.network.embed_audio, inputs, starts, self.precision)

    def distances(self, faces: np.ndarray, starts: np.ndarray, times: np.ndarray, mel: np.ndarray) -> np.ndarray:
        """Distances of windows from the mel (float32 [num_mels, columns]) at every shift: float32 [W, 31], NaN where
        there is no mel. starts: see embed_faces; times: int [W], the windows' frame numbers in the sound's time."""
        return window_distances(self.embed_faces(faces, starts), times, self.embed_mel(mel), self.missing)


class PublishedSyncNet:
    """SyncNet as the field measures LSE-D and LSE-C with it; beyond the sound embeddings are zero, as published."""

    missing = 0.0
    hp: HParams = hparams

    def __init__(self, path: Path, content: dict, device: torch.device) -> None:
        self.name = f"published SyncNet {path.name}"
        network = SyncNet_v2()
        weight_files.load_into(network, content["state_dict"], path)
        self.network: Any = network.eval().to(device)
        self.precision = Precision("fp32", device)  # so that numbers are those of the papers

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """uint8 BGR [224, 224, 3]: the box with margins left, right and, twice as wide, below."""
        x1, y1, x2, y2 = (float(v) for v in box)
        half = max(x2 - x1, y2 - y1) / 2
        pad = int(half * (1 + 2 * FACE_MARGIN))
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3)
        middle_x, middle_y, side = (x1 + x2) / 2 + pad, (y1 + y2) / 2 + pad, half * (1 + FACE_MARGIN)
        rows = slice(int(middle_y - half), int(middle_y + half * (1 + 2 * FACE_MARGIN)))
        return cv2.resize(padded[rows, int(middle_x - side) : int(middle_x + side)], (FACE_SIZE, FACE_SIZE))

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """As Expert.embed_faces, for crops of FACE_SIZE."""

        def inputs(rows: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(picture_windows(faces, rows, self.hp.window_frames).astype(np.float32))

        return embed_in_batches(self.network.embed_faces, inputs, starts, self.precision)

    def embed_audio(self, wav: np.ndarray) -> torch.Tensor:
        """As Expert.embed_audio, at the level that the sound has, so that numbers are those of the papers."""
        columns = mfcc(wav)

        def inputs(starts: Sequence[int]) -> torch.Tensor:
            return torch.from_numpy(np.stack([columns[start : start + MFCC_COLUMNS].T[None] for start in starts]))

        starts = range(0, len(columns) - MFCC_COLUMNS + 1, MFCC_COLUMNS_PER_FRAME)
        return embed_in_batches(self.network.embed_audio, inputs, starts, self.precision)


Scorer = Expert | PublishedSyncNet


def load_scorer(path: Path, device: torch.device) -> Scorer:
    """The scorer whose weights the file holds."""
    content = weight_files.read(path)
    if "netcnnlip.0.weight" in content["state_dict"]:
        return PublishedSyncNet(path, content, device)
    return Expert.from_content(path, content, Precision("auto", device))


@torch.inference_mode()
def embed_in_batches(
    encoder: Callable[[torch.Tensor], torch.Tensor],
    inputs: Callable[[Any], torch.Tensor],
    starts: Sequence[int] | np.ndarray,
    precision: Precision,
) -> torch.Tensor:
    """Embeddings float32 [N, D] of the windows at `starts`, of which inputs() makes network inputs; [0, 1] for none."""
    parts = []
    for first in range(0, len(starts), BATCH):
        batch = inputs(starts[first : first + BATCH]).to(precision.device)
        with precision.autocast():
            parts.append(encoder(batch).float())
    return torch.cat(parts) if parts else torch.empty(0, 1, device=precision.device)
