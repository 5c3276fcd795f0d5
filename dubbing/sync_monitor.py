"""How well lips and speech of a dub fit, second by second, scored while it is made."""

import numpy as np

from dubbing.source import TimedFrame
from hparams import hparams
from metrics.experts import Expert
from metrics.streaming import WindowStream

STEP = 1 / hparams.fps  # seconds


class SyncMonitor:
    """Takes the faces of a dub at their own times and hands the nearest ones, 25 a second, to an expert.

    mel: float32 [num_mels, columns], of the speech.
    """

    def __init__(self, expert: Expert, mel: np.ndarray) -> None:
        self._windows, self._speech = WindowStream(expert), expert.embed_mel(mel)
        self._added = 0  # frames handed on
        self._face: np.ndarray | None = None
        self._time, self._number = 0.0, -1

    def add(self, frame: TimedFrame, face: np.ndarray | None) -> None:
        """face: uint8 BGR [S, S, 3] as it will look in that frame, None where there is none."""
        self._add_until((self._time + frame.time) / 2)
        if abs(frame.number - self._number) > 1:  # the video was started again; played backwards it goes on
            self._windows.flush()
        self._face, self._time, self._number = face, frame.time, frame.number

    def result(self) -> dict | None:
        """What evaluate.py says of a video's sync; None where too few frames were added."""
        self._add_until(self._time + STEP / 100)
        self._windows.flush()
        return self._windows.result(self._speech)

    def _add_until(self, time: float) -> None:
        while self._added * STEP < time - 1e-6:
            self._windows.add(self._added, self._face)
            self._added += 1
