"""Lips in frames that go by, and how well they fit the voice."""

import numpy as np
import torch

import sync_offset
from hparams import hparams

BLOCK = 256  # faces held at once
FPS = hparams.fps


class Lips:
    """Embeds one scorer's windows while frames go by."""

    def __init__(self, scorer):
        self.scorer, self.first, self.faces = scorer, 0, []
        self.parts: list[torch.Tensor] = []
        self.times: list[np.ndarray] = []

    def see(self, number: int, face: np.ndarray | None, new_shot: bool) -> None:
        """The face of frame `number`; no window spans a frame without one, or a cut."""
        if face is None or new_shot:
            self.finish()
        if face is not None:
            self.first = self.first if self.faces else number
            self.faces.append(face)
        if len(self.faces) == BLOCK:
            kept = self.faces[-(hparams.window_frames - 1) :]
            self.finish()
            self.first, self.faces = number + 1 - len(kept), kept

    def finish(self) -> None:
        starts = np.arange(len(self.faces) - hparams.window_frames + 1)
        if len(starts):
            self.parts.append(self.scorer.embed_lips(np.stack(self.faces), starts))
            self.times.append(self.first + starts)
        self.faces = []


def sync_of(lips: Lips, voice: torch.Tensor) -> dict | None:
    """Offset, LSE-D and LSE-C of the lips that were seen, overall and by second; None where too little was seen."""
    times = np.concatenate(lips.times) if lips.times else np.zeros(0, int)
    distances = np.zeros((0, 1), np.float32)
    if len(times):
        distances = sync_offset.compare(torch.cat(lips.parts), times, voice, lips.scorer.absent)
    whole = sync_offset.score(distances)
    if whole is None:
        return None
    seconds = []
    for second in range(int(times[-1]) // FPS + 1):
        part = sync_offset.score(distances[times // FPS == second])
        if part is not None:
            seconds.append({"second": second} | _numbers(part))
    compared = int((~np.isnan(distances).any(axis=1)).sum())
    curve = [round(float(value), 4) for value in whole.curve]
    return {"scorer": lips.scorer.name, "windows": compared} | _numbers(whole) | {"curve": curve, "seconds": seconds}


def _numbers(score: sync_offset.SyncScore) -> dict:
    return {"offset": score.offset, "lse_d": round(score.distance, 4), "lse_c": round(score.confidence, 4)}
