"""How well lips and speech of a dub fit, second by second, judged while it is made."""

import numpy as np

from dubbing.source import Moment
from hparams import hparams
from lips import Lips, sync_of

STEP = 1 / hparams.fps


class LipJudge:
    """Sees the faces of a dub at their own times, and shows a scorer the nearest ones, 25 a second."""

    def __init__(self, scorer, mel: np.ndarray):
        self.lips, self.voice = Lips(scorer), scorer.embed_mel(mel)
        self.shown = 0  # frames shown to the scorer
        self.face, self.time, self.number = None, 0.0, -1

    def see(self, moment: Moment, face: np.ndarray | None) -> None:
        """face: uint8 BGR [S, S, 3] as it will look at that moment, None where there is none."""
        self._show_until((self.time + moment.time) / 2)
        if moment.number != self.number + 1:  # the video was started again
            self.lips.finish()
        self.face, self.time, self.number = face, moment.time, moment.number

    def conclude(self) -> dict | None:
        """What evaluate.py says of a video's sync; None where too little was seen."""
        self._show_until(self.time + STEP / 100)
        self.lips.finish()
        return sync_of(self.lips, self.voice)

    def _show_until(self, time: float) -> None:
        while self.shown * STEP < time - 1e-6:
            self.lips.see(self.shown, self.face, False)
            self.shown += 1
