"""How far sound and picture lie apart, as a lip-sync expert hears and sees it.

Every window of five frames is compared with the mel at every shift of up to 15 frames: the shift at which the
embeddings lie closest is the offset; how far it stands out from the others is the confidence (the measures LSE-D and
LSE-C of the field; Chung and Zisserman, "Out of time", 2016, and Wav2Lip, ACM MM 2020, section 5).
"""

from dataclasses import dataclass

import numpy as np
import torch

import audio
from devices import Precision
from face_detection.crop import lower_half_windows
from hparams import HParams

MAX_SHIFT = 15  # frames
BATCH = 64  # windows embedded at once
WINDOW_OVERLAP = 5  # neighbouring windows share all but one of their five frames
NEAR = 2  # frames around the best shift that say nothing against it, since mels there overlap


@dataclass(frozen=True)
class SyncScore:
    """offset: frames by which the sound is late (negative: early); distance: mean distance of the embeddings there,
    0 to 1.42; confidence: how much farther they lie at the median shift; curve: float32 [2·15 + 1], the mean distance
    at the shifts -15 to 15; evidence: how many standard errors nearer they lie at the offset than at shifts farther
    than NEAR from it, windows that overlap counted once."""

    offset: int
    distance: float
    confidence: float
    curve: np.ndarray
    evidence: float


def score(distances: np.ndarray, fewest: int = 1) -> SyncScore | None:
    """The score of some windows' distances [W, 31]; None where fewer than `fewest` were compared at every
    shift."""
    whole = distances[~np.isnan(distances).any(axis=1)]
    if len(whole) < fewest:
        return None
    curve = whole.mean(axis=0)
    best = int(curve.argmin())
    far = np.abs(np.arange(len(curve)) - best) > NEAR
    gains = whole[:, far].mean(axis=1) - whole[:, best]  # [W]
    error = float(gains.std()) / max(1.0, len(gains) / WINDOW_OVERLAP) ** 0.5
    confidence, evidence = float(np.median(curve) - curve[best]), float(gains.mean()) / (error + 1e-9)
    return SyncScore(best - MAX_SHIFT, float(curve[best]), confidence, curve, evidence)


def compare(lips: torch.Tensor, times: np.ndarray, voice: torch.Tensor, absent: float = np.nan) -> np.ndarray:
    """Distances of windows from the sound at every shift.

    lips: [W, D], embeddings of windows; times: int [W], the frame numbers at which they start, in the sound's time;
    voice: [F, D], embeddings of the sound that belongs to windows starting at frames 0 to F-1; absent: what all values
    of an embedding are where there is no sound. Returns float32 [W, 31].
    """
    voice = torch.cat((voice, voice.new_full((1, lips.shape[1]), absent)))  # the last row: no sound
    wanted = times[:, None] + np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    last = len(voice) - 1
    place = torch.from_numpy(np.where((wanted >= 0) & (wanted < last), wanted, last)).to(lips.device)
    distances = np.empty(wanted.shape, np.float32)
    for first in range(0, len(lips), BATCH):
        part = slice(first, first + BATCH)
        distances[part] = (lips[part, None] - voice[place[part]]).norm(dim=2).cpu().numpy()  # [BATCH, 31, D] at once
    return distances


def shift_distances(expert: torch.nn.Module, faces: np.ndarray, starts: np.ndarray, times: np.ndarray, mel: np.ndarray,
                    hp: HParams, precision: Precision) -> np.ndarray:  # fmt: skip
    """Distances of windows from the mel at every shift, as an expert of this project finds them.

    starts, times: int [W], the rows of faces at which windows start, and their frame numbers (at hp.fps) in the sound's
    time; for the others see embed_lips and embed_voice. Returns float32 [W, 31], NaN where there is no mel.
    """
    return compare(embed_lips(expert, faces, starts, hp, precision), times, embed_voice(expert, mel, hp, precision))


def embed_lips(expert, faces: np.ndarray, starts: np.ndarray, hp: HParams, precision: Precision) -> torch.Tensor:
    """expert: SyncNet_color in eval mode on precision's device; faces: uint8 BGR [N, S, S, 3]; starts: int [W], rows at
    which five frames in a row start. Returns float32 [W, D]."""

    def windows(rows):
        return lower_half_windows(faces, rows, hp.window_frames)

    return in_batches(expert.embed_faces, windows, starts, precision)


def embed_voice(expert, mel: np.ndarray, hp: HParams, precision: Precision) -> torch.Tensor:
    """mel: float32 [columns, num_mels] -> float32 [F, D], for windows that start at frames 0 to F-1."""
    columns = [
        audio.window_mel_start(frame, hp) for frame in range(int(len(mel) / hp.mel_columns_per_second * hp.fps) + 1)
    ]
    columns = [column for column in columns if column + hp.mel_window <= len(mel)]

    def windows(starts):
        return np.stack([mel[start : start + hp.mel_window].T[None] for start in starts])

    return in_batches(expert.embed_audio, windows, columns, precision)


@torch.inference_mode()
def in_batches(encoder, inputs_at, starts, precision: Precision) -> torch.Tensor:
    """Embeddings float32 [N, D] of what inputs_at(some of the starts) gives, an array; [0, 1] for none."""
    parts = []
    for first in range(0, len(starts), BATCH):
        inputs = torch.from_numpy(inputs_at(starts[first : first + BATCH])).to(precision.device)
        with precision.autocast():
            parts.append(encoder(inputs).float())
    return torch.cat(parts) if parts else torch.empty(0, 1, device=precision.device)
