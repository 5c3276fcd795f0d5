"""Sync scores while frames go by, so that no video is held in memory."""

import numpy as np

from hparams import hparams
from metrics.experts import Scorer
from metrics.sync_offset import SyncScore, score_distances, window_distances

BLOCK = 256  # faces held at once
# Seconds on either side that a second is scored with. Of three seconds the bundled expert tells 82 % of real footage of
# people it knows (99 % of these rightly) and takes 5 % of another sentence's sound for right; of one, 72 % and 21 %
AROUND = 1
FPS = hparams.fps


class WindowStream:
    """Embeds the windows of one scorer while frames go by."""

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
        if len(self.faces) == BLOCK:
            kept = self.faces[-(hparams.window_frames - 1) :]
            self.flush()
            self.first, self.faces = number + 1 - len(kept), kept

    def flush(self) -> None:
        """Embed the windows of the faces so far; the next face starts anew."""
        starts = np.arange(len(self.faces) - hparams.window_frames + 1)
        if len(starts):
            self.embeddings.append(self.scorer.embed_faces(np.stack(self.faces), starts))
            self.times.append(self.first + starts)
        self.faces = []

    def result(self, sound: np.ndarray) -> dict | None:
        """Offset, LSE-D and LSE-C against the sound's embeddings, and whether the offset is measurable, overall and by
        second, each with AROUND seconds on either side; None where too few frames were added."""
        times = np.concatenate(self.times) if self.times else np.zeros(0, int)
        distances = np.zeros((0, 1), np.float32)
        if len(times):
            distances = window_distances(np.concatenate(self.embeddings), times, sound, self.scorer.missing)
        whole = score_distances(distances)
        if whole is None:
            return None
        compared = np.asarray(np.isfinite(distances).all(axis=1))
        seconds = []
        for second in range(int(times[-1]) // FPS + 1):
            away = np.abs(times // FPS - second)
            part = score_distances(distances[away <= AROUND])
            if part is not None and compared[away == 0].any():
                seconds.append({"second": second} | _numbers(part))
        curve = [round(float(value), 4) for value in whole.curve]
        return (
            {"scorer": self.scorer.name, "windows": int(compared.sum())}
            | _numbers(whole)
            | {"curve": curve, "seconds": seconds}
        )


def _numbers(score: SyncScore) -> dict:
    return {
        "measurable": score.measurable, "offset": score.offset, "lse_d": round(score.distance, 4),
        "lse_c": round(score.confidence, 4), "evidence": round(score.evidence, 2),
    }  # fmt: skip
