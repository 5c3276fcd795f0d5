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


@torch.inference_mode()
def shift_distances(expert: torch.nn.Module, faces: np.ndarray, starts: np.ndarray, times: np.ndarray, mel: np.ndarray,
                    hp: HParams, precision: Precision) -> np.ndarray:  # fmt: skip
    """Distances of windows from the mel at every shift.

    expert: in eval mode on precision's device; faces: uint8 BGR [N, S, S, 3]; starts: int [W], the rows at which five
    frames in a row start; times: int [W], the frame numbers (at hp.fps) of these rows in the sound's time; mel: float32
    [columns, num_mels]. Returns float32 [W, 31], NaN where the shifted mel is not there.
    """
    shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    wanted, place = np.unique(times[:, None] + shifts, return_inverse=True)
    columns = np.array([audio.window_mel_start(int(frame), hp) for frame in wanted])
    there = (wanted >= 0) & (columns + hp.mel_window <= len(mel))

    def embed(encoder, inputs) -> torch.Tensor:
        parts = []
        for first in range(0, len(inputs), BATCH):
            with precision.autocast():
                parts.append(encoder(inputs[first : first + BATCH]))
        return torch.cat(parts).float()

    def voices(starts):
        windows = np.stack([mel[start : start + hp.mel_window].T[None] for start in starts])
        return expert.embed_audio(torch.from_numpy(windows).to(precision.device))

    def lips(rows):
        windows = lower_half_windows(faces, rows, hp.window_frames)
        return expert.embed_faces(torch.from_numpy(windows).to(precision.device))

    distances = np.full((len(starts), len(shifts)), np.nan, np.float32)
    if not len(starts) or not there.any():
        return distances
    face = embed(lips, starts)  # [W, D]
    voice = torch.full((len(wanted), face.shape[1]), torch.nan, device=face.device)
    voice[torch.from_numpy(there)] = embed(voices, columns[there])
    place = torch.from_numpy(place.reshape(len(starts), len(shifts)))
    for first in range(0, len(starts), BATCH):  # [BATCH, 31, D] at once
        part = slice(first, first + BATCH)
        distances[part] = (face[part, None] - voice[place[part]]).norm(dim=2).cpu().numpy()
    return distances
