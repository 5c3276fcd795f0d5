"""What tells how well lips and sound fit: an expert of this project, or the published scorer.

Both see windows of five frames at 25 a second and 0.2 s of sound, and embed them. The numbers in papers (LSE-D, LSE-C)
are the published scorer's (Chung and Zisserman, "Out of time", 2016); distances of the two cannot be compared.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import scipy.fft
import torch

import audio
import checkpoint
import sync_offset
from devices import Precision
from face_detection.crop import cut, pad_and_clip, to_network_size
from hparams import HParams, hparams
from models import SyncNet_color
from models.syncnet_v2 import SyncNet_v2

# The sound as the published scorer hears it: 13 MFCCs every 10 ms
MFCC_RATE = 16_000  # samples a second
MFCC_WINDOW, MFCC_HOP, MFCC_FFT = 400, 160, 512  # samples
MFCC_BANDS, MFCC_COUNT, MFCC_LIFTER = 26, 13, 22
MFCC_COLUMNS, MFCC_COLUMNS_A_FRAME = 20, 4
MFCC_BLOCK = 6000  # columns computed at once
# The face as it sees it
FACE_SIZE = 224  # pixels
FACE_MARGIN = 0.4  # part of the box's longer side that is shown around it, all of it below
OUTSIDE = 110  # grey level where the frame has ended


class ExpertScorer:
    """A lip-sync expert of this project's form: distances 0 to 1.42, windows beyond the sound left out."""

    absent = np.nan

    def __init__(self, path: Path, content: dict, device: torch.device):
        self.name = f"SyncNet_color {path.name}"
        self.hp = checkpoint.hparams_of(content)
        network = SyncNet_color(self.hp.width)
        checkpoint.load_into(network, content["state_dict"], path)
        self.network = network.eval().to(device, memory_format=torch.channels_last)
        self.precision = Precision("auto", device)

    def face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """uint8 BGR [96, 96, 3], cut as in training; None where the box is outside the frame."""
        rect = pad_and_clip(box, (0, 0, 0, 0), *image.shape[:2])
        return to_network_size(cut(image, rect), self.hp.img_size) if rect.usable else None

    def embed_lips(self, faces: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        return sync_offset.embed_lips(self.network, faces, starts, self.hp, self.precision)

    def embed_voice(self, wav: np.ndarray) -> torch.Tensor:
        return self.embed_mel(audio.melspectrogram(wav, self.hp))

    def embed_mel(self, mel: np.ndarray) -> torch.Tensor:
        return sync_offset.embed_voice(self.network, mel.T, self.hp, self.precision)


class PublishedScorer:
    """SyncNet as the field measures LSE-D and LSE-C with it; beyond the sound embeddings are zero, as published."""

    absent = 0.0
    hp: HParams = hparams

    def __init__(self, path: Path, content: dict, device: torch.device):
        self.name = f"published SyncNet {path.name}"
        network = SyncNet_v2()
        checkpoint.load_into(network, content["state_dict"], path)
        self.network = network.eval().to(device)
        self.precision = Precision("fp32", device)  # so that numbers are those of the papers

    def face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """uint8 BGR [224, 224, 3]: the box with margins left, right and, twice as wide, below."""
        x1, y1, x2, y2 = (float(v) for v in box)
        half = max(x2 - x1, y2 - y1) / 2
        pad = int(half * (1 + 2 * FACE_MARGIN))
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3)
        middle_x, middle_y, side = (x1 + x2) / 2 + pad, (y1 + y2) / 2 + pad, half * (1 + FACE_MARGIN)
        rows = slice(int(middle_y - half), int(middle_y + half * (1 + 2 * FACE_MARGIN)))
        return cv2.resize(padded[rows, int(middle_x - side) : int(middle_x + side)], (FACE_SIZE, FACE_SIZE))

    def embed_lips(self, faces: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        def windows(rows):
            frames = faces[np.asarray(rows)[:, None] + np.arange(self.hp.window_frames)]  # [W, 5, 224, 224, 3]
            return frames.transpose(0, 4, 1, 2, 3).astype(np.float32)

        return sync_offset.in_batches(self.network.embed_faces, windows, starts, self.precision)

    def embed_voice(self, wav: np.ndarray) -> torch.Tensor:
        columns = mfcc(wav)

        def windows(starts):
            return np.stack([columns[start : start + MFCC_COLUMNS].T[None] for start in starts])

        starts = range(0, len(columns) - MFCC_COLUMNS + 1, MFCC_COLUMNS_A_FRAME)
        return sync_offset.in_batches(self.network.embed_audio, windows, starts, self.precision)


def load(path: Path, device: torch.device) -> ExpertScorer | PublishedScorer:
    """The scorer whose weights the file holds."""
    content = checkpoint.read(path)
    published = "netcnnlip.0.weight" in content["state_dict"]
    return (PublishedScorer if published else ExpertScorer)(path, content, device)


def mfcc(wav: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients of float [samples] in -1..1 at MFCC_RATE, as the published scorer has them:
    float32 [columns, 13], the first the logarithm of the energy; 100 columns a second."""
    samples = np.asarray(wav, np.float64) * 32768  # the levels of 16-bit sound
    samples[1:] -= 0.97 * samples[:-1].copy()
    count = 1 + max(0, -(-(len(samples) - MFCC_WINDOW) // MFCC_HOP))
    padded = np.pad(samples, (0, max(0, (count - 1) * MFCC_HOP + MFCC_WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, MFCC_WINDOW)[::MFCC_HOP]
    lifter = 1 + MFCC_LIFTER / 2 * np.sin(np.pi * np.arange(MFCC_COUNT) / MFCC_LIFTER)
    tiny, columns = np.finfo(float).eps, np.empty((count, MFCC_COUNT), np.float32)
    for first in range(0, count, MFCC_BLOCK):
        block = slice(first, min(first + MFCC_BLOCK, count))
        power = np.abs(np.fft.rfft(frames[block], MFCC_FFT)) ** 2 / MFCC_FFT
        bands = np.maximum(power @ _mfcc_bands().T, tiny)
        columns[block] = scipy.fft.dct(np.log(bands), norm="ortho")[:, :MFCC_COUNT] * lifter
        columns[block, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return columns


@lru_cache
def _mfcc_bands() -> np.ndarray:
    """Triangles between FFT bins that lie evenly on the mel scale, [26, 257]."""
    top = 2595 * np.log10(1 + MFCC_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, MFCC_BANDS + 2) / 2595) - 1)
    edges = np.floor((MFCC_FFT + 1) * hertz / MFCC_RATE)
    bins = np.arange(MFCC_FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high))
