"""When a training ends: after its steps or minutes, or on a signal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from types import FrameType
from typing import Any

from utils import distributed


class Clock:
    """How far a training is: progress(steps done) -> 0..1, of all its steps or of its minutes, whichever is farther.

    Minutes are those spent learning, not evaluating; spent: seconds of them before an interruption. In all processes
    progress is the main one's, since the learning rate may follow it.
    """

    def __init__(self, last_step: int, minutes: float | None, spent: float = 0.0) -> None:
        self.last_step, self.minutes = last_step, minutes
        self._spent, self._since = spent, monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent learning."""
        return self._spent + monotonic() - self._since

    def progress(self, steps: int) -> float:
        done = steps / self.last_step
        if self.minutes:
            done = max(done, distributed.broadcast(self.seconds) / (60 * self.minutes))
        return min(1.0, done)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time that passes in this block does not count."""
        self._spent, self._since = self.seconds, inf
        try:
            yield
        finally:
            self._since = monotonic()


class StopRequest(Exception):
    """Raised by a stop signal in what may be cut off."""


class StopSignal:
    """Within its block, turns the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._raises = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """In this block a request, also one made before, raises StopRequest."""
        if self.asked:
            raise StopRequest
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._raises:
            self._raises = False
            raise StopRequest
