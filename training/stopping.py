"""A training ends on a signal, after the step that it is in."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
