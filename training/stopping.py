"""A training ends on a signal, after the step that it is in."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from utils import distributed
from utils.interrupts import STOP_SIGNALS


class StopRequest(KeyboardInterrupt):
    """Raised by a stop signal in what may be cut off."""


class StopSignal:
    """Within its block, turns the first stop signal into a request and says so; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._raises = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._ask) for number in heard}
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
        signal.signal(signal.SIGINT, self._handlers.get(signal.SIGINT, signal.default_int_handler))
        if distributed.is_main():
            said = "stopping: the evaluation is cut off" if self._raises else "stopping after this step"
            bar = "\n" if sys.stderr.isatty() else ""
            with suppress(RuntimeError, OSError):  # the stream is in use, or gone
                print(f"{bar}{said}", file=sys.stderr, flush=True)
        if self._raises:
            self._raises = False
            raise StopRequest
