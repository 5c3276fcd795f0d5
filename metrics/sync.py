"""By how many frames sound and picture are apart, from the embeddings of windows and sound.

Every window of five frames is compared with the sound at every shift of up to 15 frames: the shift at which the
embeddings lie closest is the offset; how far it stands out from the others is the confidence (the measures LSE-D and
LSE-C of the field; Chung and Zisserman, "Out of time", 2016, and Wav2Lip, ACM MM 2020, section 5).

What embeds is a Scorer: a lip-sync expert of this project (Expert), or the published SyncNet (published_syncnet.py),
whose numbers are those in papers. Distances of the two cannot be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import audio
from face_detection.crop import NO_PADS, crop, pad_and_clip, to_network_size
from hparams import HParams, hparams
from models.backend import ArrayNetwork, Backend, load
from utils.images import lower_half

MAX_SHIFT = 15  # frames
WINDOWS_AT_ONCE = 64  # compared, or embedded
WINDOW_OVERLAP = 5  # neighbouring windows share all but one of their five frames
# z-score from which on an offset is believed. Measured with a narrow expert on 84 held-out sentences of 3 s of the
# speaker it was trained on, as they are, 5 frames late and 5 early: 97 % reach it, and the offsets of all of them are
# right within a frame. Under another sentence's sound 5 % reach it; a fifth of the others lies near 0 by chance. An
# expert with a tenth of the training reaches it on no clip, and so decides nothing.
SIGNIFICANT_Z_SCORE = 4.5
MIN_SIGNIFICANT_WINDOWS = 10  # two that do not overlap
NEIGHBOURS = 2  # frames around the best shift that say nothing against it, since mels there overlap
FACES_IN_MEMORY = 256
# Seconds on either side that a second is scored with. Of three seconds an expert told 82 % of real footage of people it
# knows (99 % of these rightly) and took 5 % of another sentence's sound for right; of one, 72 % and 21 %
SECONDS_AROUND = 1
FPS = hparams.fps
IN_SYNC, NEARLY = 1, 2  # frames of offset up to which lips and speech are in sync, and nearly


class Scorer(Protocol):
    """Embeds windows of faces and of sound. The closer two embeddings, the better they fit."""

    name: str  # for people
    missing: float  # values of an embedding where there is no sound
    good_confidence: float  # LSE-C that real footage reaches
    hp: HParams

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None: ...

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> np.ndarray: ...

    def embed_audio(self, wav: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class SyncScore:
    """How some windows fit the sound; the fields have the names that they have in JSON files."""

    measurable: bool  # whether these pictures can be told from the same ones shifted; if not, the offset means nothing
    offset: int  # frames by which the sound is late; negative: early
    lse_d: float  # mean distance of the embeddings at that offset
    lse_c: float  # confidence: how much larger the distance is at the median shift
    evidence: float  # z-score: standard errors by which they lie closer at the offset than at shifts beyond NEIGHBOURS


@dataclass(frozen=True, kw_only=True)
class SecondResult(SyncScore):
    """How lips and speech fit in one second of a video and those around it."""

    second: int


@dataclass(frozen=True, kw_only=True)
class SyncResult(SyncScore):
    """How lips and speech of a video fit."""

    scorer: str  # its name
    good_confidence: float  # lse_c that real footage reaches with this scorer
    windows: int  # how many were compared
    curve: list[float]  # distance at the shifts -15 to 15
    seconds: list[SecondResult]  # those that could be scored

    @property
    def measurable_seconds(self) -> float:
        """Share of the seconds that are measurable."""
        return sum(second.measurable for second in self.seconds) / len(self.seconds) if self.seconds else 1.0

    @property
    def kind(self) -> str:
        """good (in time), remark (two frames off), bad (more) or unknown: not measurable as a whole or in most of its
        seconds, or with less confidence than real footage has."""
        return self.kind_of(self) if self.measurable_seconds >= 0.5 else "unknown"

    def kind_of(self, score: SyncScore | None) -> str:
        """The same of one of the seconds; unknown for a second without a score."""
        if score is None or not score.measurable or score.lse_c < self.good_confidence:
            return "unknown"
        return "good" if abs(score.offset) <= IN_SYNC else "remark" if abs(score.offset) <= NEARLY else "bad"


def score_distances(distances: np.ndarray, min_windows: int = 1) -> SyncScore | None:
    """The score of some windows' distances [W, 31]; None if fewer than `min_windows` were compared at every shift."""
    whole = distances[~np.isnan(distances).any(axis=1)]
    if len(whole) < min_windows:
        return None
    curve = whole.mean(axis=0)
    best = int(curve.argmin())
    far = np.abs(np.arange(len(curve)) - best) > NEIGHBOURS
    gains = whole[:, far].mean(axis=1) - whole[:, best]  # [W]
    error = float(gains.std()) / max(1.0, len(gains) / WINDOW_OVERLAP) ** 0.5
    z_score = float(gains.mean()) / (error + 1e-9)
    return SyncScore(
        measurable=z_score >= SIGNIFICANT_Z_SCORE and len(gains) >= MIN_SIGNIFICANT_WINDOWS,
        offset=best - MAX_SHIFT,
        lse_d=float(curve[best]),
        lse_c=float(np.median(curve) - curve[best]),
        evidence=z_score,
    )


def _rounded(score: SyncScore) -> dict[str, Any]:
    """Its fields, as they are written."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(score).items()}


def window_distances(faces: np.ndarray, times: np.ndarray, sound: np.ndarray, missing: float = np.nan) -> np.ndarray:
    """Distances of windows from the sound at every shift: float32 [W, 31].

    faces: float32 [W, D], embeddings of windows; times: int [W], the frame numbers at which they start, in the sound's
    time; sound: float32 [F, D], embeddings of the sound that belongs to windows starting at frames 0 to F-1; missing:
    the values of an embedding where there is no sound.
    """
    silence = np.full((1, faces.shape[1]), missing, np.float32)  # the last row
    sound = np.concatenate((sound, silence)) if len(faces) and len(sound) else silence  # no embeddings have no width
    wanted = times[:, None] + np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    last = len(sound) - 1
    rows = np.where((wanted >= 0) & (wanted < last), wanted, last)
    distances = np.empty(wanted.shape, np.float32)
    for first in range(0, len(faces), WINDOWS_AT_ONCE):
        part = slice(first, first + WINDOWS_AT_ONCE)
        distances[part] = np.linalg.norm(faces[part, None] - sound[rows[part]], axis=2)  # [B, 31, D]
    return distances


class WindowStream:
    """Embeds the windows of one scorer while frames go by, so that no video is held in memory."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.first = 0  # frame number of faces[0]
        self.faces: list[np.ndarray] = []
        self.embeddings: list[np.ndarray] = []
        self.times: list[np.ndarray] = []

    def add(self, number: int, face: np.ndarray | None, new_shot: bool = False) -> None:
        """The face of frame `number`; no window spans a frame without one, or a cut."""
        if face is None or new_shot:
            self.flush()
        if face is not None:
            self.first = self.first if self.faces else number
            self.faces.append(face)
        if len(self.faces) == FACES_IN_MEMORY:
            kept = self.faces[-(hparams.window_frames - 1) :]
            self.flush()
            self.first, self.faces = number + 1 - len(kept), kept

    def flush(self) -> None:
        """Embed the windows of the faces so far. No window spans these faces and the next."""
        starts = np.arange(len(self.faces) - hparams.window_frames + 1)
        if len(starts):
            self.embeddings.append(self.scorer.embed_faces(np.stack(self.faces), starts))
            self.times.append(self.first + starts)
        self.faces = []

    def distances(self, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frame numbers at which the windows so far start, int [W], and their distances from the sound, as of
        window_distances(): float32 [W, 31]."""
        if not self.times:
            return np.zeros(0, int), np.zeros((0, 2 * MAX_SHIFT + 1), np.float32)
        times = np.concatenate(self.times)
        return times, window_distances(np.concatenate(self.embeddings), times, sound, self.scorer.missing)

    def result(self, sound: np.ndarray) -> SyncResult | None:
        """The scores against the sound's embeddings; None where too few frames were added."""
        times, distances = self.distances(sound)
        whole = score_distances(distances)
        if whole is None:
            return None
        compared = np.asarray(np.isfinite(distances).all(axis=1))
        seconds = []
        for second in range(int(times[-1]) // FPS + 1):
            away = np.abs(times // FPS - second)
            part = score_distances(distances[away <= SECONDS_AROUND])
            if part is not None and compared[away == 0].any():
                seconds.append(SecondResult(second=second, **_rounded(part)))
        return SyncResult(
            scorer=self.scorer.name, good_confidence=self.scorer.good_confidence, windows=int(compared.sum()),
            curve=[round(float(value), 4) for value in distances[compared].mean(axis=0)], seconds=seconds,
            **_rounded(whole),
        )  # fmt: skip


class Expert:
    """A lip-sync expert of this project as a Scorer: distances 0 to 1.42, windows beyond the sound left out."""

    missing = np.nan
    good_confidence = 0.42  # of the bundled one: 30 held-out clips of 3 s have 0.47 on average

    def __init__(self, encoders: Sequence[ArrayNetwork], hp: HParams, name: str, fingerprint: str = "") -> None:
        """encoders: of faces and of mels, as backend.load has them; hp: the values that it was trained with;
        fingerprint: of its weights."""
        self.face_encoder, self.mel_encoder = encoders
        self.hp, self.name, self.fingerprint = hp, name, fingerprint

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
    return Expert(loaded.networks, loaded.hp, f"SyncNet_color {path.name}", loaded.fingerprint)


def embed_in_batches(embed: Callable[[Any], np.ndarray], starts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Embeddings float32 [N, D] of the windows at `starts`; [0, 1] for none."""
    parts = [embed(starts[i : i + WINDOWS_AT_ONCE]) for i in range(0, len(starts), WINDOWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


def picture_windows(faces: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """Windows of `frames` pictures in a row: uint8 BGR [N, H, W, 3] and rows [W] at which windows start
    -> uint8 [W, frames, H, W, 3]."""
    return faces[np.asarray(starts)[:, None] + np.arange(frames)]
