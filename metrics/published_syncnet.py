"""The published SyncNet as a scorer, which the field measures LSE-D and LSE-C with, and its sound features.

Numbers are those of papers: single precision, the sound's own level, zeros as embeddings beyond the sound.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.fft
import torch

from hparams import HParams, hparams
from metrics.sync import Scorer, embed_in_batches, load_expert, picture_windows
from models.backend import Backend
from models.syncnet import SyncNet_v2
from utils import weight_files

MFCC_COLUMNS, MFCC_COLUMNS_PER_FRAME = 20, 4
FACE_SIZE = 224  # pixels
FACE_MARGIN = 0.4  # part of the box's longer side that a crop shows around it, all of it below
OUTSIDE_GREY = 110  # level beyond the frame's edges
# Of the mel-frequency cepstral coefficients
SAMPLE_RATE = 16_000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples
BANDS, COEFFICIENTS, LIFTER = 26, 13, 22
PREEMPHASIS = 0.97
COLUMNS_AT_ONCE = 6000


class PublishedSyncNet:
    """A Scorer: distances of some 6 to 15."""

    missing = 0.0
    good_confidence = 6.0
    hp: HParams = hparams

    def __init__(self, path: Path, content: dict, device: torch.device) -> None:
        self.name = f"published SyncNet {path.name}"
        network = SyncNet_v2()
        weight_files.load_into(network, content["state_dict"], path)
        self.network: Any = network.eval().to(device)
        self.device = device

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """uint8 BGR [224, 224, 3]: the box with margins left, right and, twice as wide, below."""
        x1, y1, x2, y2 = (float(v) for v in box)
        half = max(x2 - x1, y2 - y1) / 2
        pad = int(half * (1 + 2 * FACE_MARGIN))
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE_GREY,) * 3)
        middle_x, middle_y, side = (x1 + x2) / 2 + pad, (y1 + y2) / 2 + pad, half * (1 + FACE_MARGIN)
        rows = slice(int(middle_y - half), int(middle_y + half * (1 + 2 * FACE_MARGIN)))
        return cv2.resize(padded[rows, int(middle_x - side) : int(middle_x + side)], (FACE_SIZE, FACE_SIZE))

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """As Expert.embed_faces, for crops of FACE_SIZE."""

        def embed(rows: np.ndarray) -> np.ndarray:
            windows = picture_windows(faces, rows, self.hp.window_frames)
            return self._run(self.network.embed_faces, windows.transpose(0, 4, 1, 2, 3).astype(np.float32))

        return embed_in_batches(embed, starts)

    def embed_audio(self, wav: np.ndarray) -> np.ndarray:
        """As Expert.embed_audio, at the level that the sound has."""
        columns = mfcc(wav)

        def embed(starts: Sequence[int]) -> np.ndarray:
            parts = [columns[start : start + MFCC_COLUMNS].T[None] for start in starts]
            return self._run(self.network.embed_audio, np.stack(parts))

        return embed_in_batches(embed, range(0, len(columns) - MFCC_COLUMNS + 1, MFCC_COLUMNS_PER_FRAME))

    @torch.inference_mode()
    def _run(self, encoder: Callable[[torch.Tensor], torch.Tensor], batch: np.ndarray) -> np.ndarray:
        return encoder(torch.from_numpy(batch).to(self.device)).cpu().numpy()


def load_scorer(path: Path, device: torch.device) -> Scorer:
    """The scorer whose weights the file holds, by PyTorch: the published SyncNet, or an expert of this project."""
    content = weight_files.read(path)
    if "netcnnlip.0.weight" in content["state_dict"]:
        return PublishedSyncNet(path, content, device)
    return load_expert(path, Backend("torch", "auto", str(device)))


def mfcc(wav: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients of float [samples] in -1..1 at SAMPLE_RATE, as the published SyncNet takes
    them: float32 [columns, 13], the first the logarithm of the energy; 100 columns a second."""
    samples = np.asarray(wav, np.float64) * 32768  # the levels of 16-bit sound
    samples[1:] -= PREEMPHASIS * samples[:-1].copy()
    count = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    padded = np.pad(samples, (0, max(0, (count - 1) * HOP + WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    tiny, columns = np.finfo(float).eps, np.empty((count, COEFFICIENTS), np.float32)
    for first in range(0, count, COLUMNS_AT_ONCE):
        block = slice(first, min(first + COLUMNS_AT_ONCE, count))
        power = np.abs(np.fft.rfft(frames[block], N_FFT)) ** 2 / N_FFT
        bands = np.maximum(power @ _mel_bands().T, tiny)
        columns[block] = scipy.fft.dct(np.log(bands), norm="ortho")[:, :COEFFICIENTS] * lifter
        columns[block, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return columns


@lru_cache
def _mel_bands() -> np.ndarray:
    """Triangles between FFT bins that lie evenly on the mel scale, [26, 257]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    edges = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high))
