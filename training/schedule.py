"""When a training evaluates and saves, and when its time is over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from utils import distributed

EVALUATION_SHARE = 0.25  # of the time of a run with --max_minutes


class Schedule(NamedTuple):
    step_size: int  # windows in one step, over all processes
    evaluate_every: int  # steps
    save_every: int  # steps
    early: bool = False  # evaluate at an eighth, a quarter and half of the first interval, too

    def evaluates(self, step: int) -> bool:
        """Whether there is an evaluation after this step."""
        early = {self.evaluate_every // part for part in (2, 4, 8)} if self.early else set()
        return step % self.evaluate_every == 0 or step in early

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return step % self.save_every == 0


class Clock:
    """How far a training is: progress(steps done) -> 0..1, of all its steps or of its minutes, whichever is farther.

    Minutes are those spent learning; evaluations do not count, but are kept below EVALUATION_SHARE of all the time.
    spent: seconds of learning before an interruption; evaluations: the seconds that each of them took. In all processes
    progress is the main one's, since the learning rate may follow it.
    """

    def __init__(
        self, last_step: int, minutes: float | None, spent: float = 0.0, evaluations: Sequence[float] = ()
    ) -> None:
        self.last_step, self.minutes = last_step, minutes
        self.seconds, self.evaluations = spent, list(evaluations)

    def progress(self, steps: int) -> float:
        done = steps / self.last_step
        if self.minutes:
            done = max(done, distributed.broadcast(self.seconds) / (60 * self.minutes))
        return min(1.0, done)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """The time that passes in this block counts."""
        since = monotonic()
        try:
            yield
        finally:
            self.seconds += monotonic() - since

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """An evaluation is made in this block."""
        since = monotonic()
        try:
            yield
        finally:
            self.evaluations.append(monotonic() - since)

    @property
    def evaluation_seconds(self) -> float:
        """What all evaluations may take together; without minutes there is no limit."""
        return 60 * self.minutes * EVALUATION_SHARE / (1 - EVALUATION_SHARE) if self.minutes else inf

    def affords_evaluation(self) -> bool:
        """Whether there is time for one more evaluation besides the last one."""
        ahead = 2 * max(self.evaluations, default=0.0)
        return distributed.broadcast(sum(self.evaluations) + ahead <= self.evaluation_seconds)


def seconds_of(work: Callable[[], Any]) -> float:
    """How long it takes."""
    since = monotonic()
    work()
    return monotonic() - since
