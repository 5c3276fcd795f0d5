"""How far a stage is: a bar in a terminal, now and then a line where stderr is a file, a pipe or a notebook.

    for clip in Progress(clips, "survey", unit="clip"): ...
    with Progress(desc="s3fd", unit="B", total=size) as progress: progress.update(len(block))
    with doing("reads the weights"): ...

What takes less than a second shows nothing. Where nothing was printed for five, signs_of_life says what is being done.
None of it is shown where the environment variable TQDM_DISABLE is set; --quiet sets it, for child processes, too.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import length_hint
from pathlib import Path
from typing import Any, TextIO

DISABLED = "TQDM_DISABLE"
SHOWN_FROM = 1.0  # seconds; what is done sooner is not worth a bar
FIRST_LINE, LONGEST_PAUSE = 5.0, 300.0  # seconds: from the start to the first line, at most from one to the next
WAITS = ""  # what a script is doing while it waits for somebody, who needs no sign of life

_doing: list["Progress | _Work"] = []  # what is going on, outermost first


def nowhere() -> TextIO:
    """A stream for what nobody is to see, names that a system's encoding does not have among it."""
    return Path(os.devnull).open("w", encoding="utf-8", errors="replace")


@contextmanager
def hidden() -> Iterator[None]:
    """Within the block no progress is shown, nor in processes that start in it."""
    before = os.environ.get(DISABLED)
    os.environ[DISABLED] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[DISABLED]
        else:
            os.environ[DISABLED] = before


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Within the block this is what the script is doing, as signs_of_life says it: such as "reads the weights"."""
    work = _Work(what)
    _doing.append(work)
    try:
        yield
    finally:
        _doing.remove(work)


@contextmanager
def signs_of_life(what: str) -> Iterator[None]:
    """Within the block, wherever nothing was printed for FIRST_LINE seconds, a line on stderr says what is being done,
    and again after longer and longer pauses; a bar is drawn anew. what: where nothing more is known."""
    if os.environ.get(DISABLED):
        yield
        return
    streams, ended, last = (sys.stdout, sys.stderr), threading.Event(), [time.monotonic()]

    def noting(write: Callable[[str], int]) -> Callable[[str], int]:
        def noted(text: str) -> int:
            last[0] = time.monotonic()
            return write(text)

        return noted

    def watch() -> None:
        while not ended.wait(SHOWN_FROM):
            current = _doing[-1]
            if time.monotonic() - last[0] >= current.pause():
                with suppress(OSError, ValueError):  # of a stream that is closed
                    current.sign()
                last[0] = time.monotonic()

    for stream in streams:
        with suppress(AttributeError):  # None, or a stream that takes no other write()
            stream.write = noting(stream.write)  # type: ignore[method-assign]
    thread = threading.Thread(target=watch, daemon=True)
    with doing(what):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(SHOWN_FROM)
            for stream in streams:
                with suppress(AttributeError):
                    del stream.write


class _Work:
    """Something that takes its time, without a count."""

    def __init__(self, what: str) -> None:
        self.what, self._began = what, time.monotonic()

    def pause(self) -> float:
        """Seconds of silence after which to say something."""
        return _pause(time.monotonic() - self._began) if self.what != WAITS else math.inf

    def sign(self) -> None:
        print(f"{self.what}: {_clock(time.monotonic() - self._began)} so far", file=sys.stderr, flush=True)


class Progress:
    """Called like tqdm: an iterable whose items are counted, or a context manager in which update() counts.

    unit: "B" is shown in megabytes, "minute" without a pace; total: else as many as items has, where it says; initial:
    what was done before; leave: whether the bar stays when all is done, or a line says so.
    """

    def __init__(
        self,
        items: Iterable[Any] = (),
        desc: str = "",
        unit: str = "it",
        total: float | None = None,
        initial: float = 0,
        leave: bool = True,
        disable: bool = False,
    ) -> None:
        self.items, self.desc, self.unit, self.leave = items, desc, unit, leave
        self.total, self.initial, self.done = total or length_hint(items) or None, initial, initial
        self.remark = ""  # shown behind the bar, or in the next line
        self._lines, self._bar = False, None
        self._began = time.monotonic()
        self._due = self._began + FIRST_LINE
        if disable or os.environ.get(DISABLED):
            return
        _doing.append(self)
        if sys.stderr.isatty():
            self._bar = self._terminal_bar()
        else:
            self._lines = True

    def _terminal_bar(self) -> Any:
        from tqdm import tqdm

        names = {"desc": self.desc or None, "unit": self.unit, "unit_scale": self.unit == "B", "leave": self.leave}
        if self.unit == "minute":
            names["bar_format"] = (
                "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} minutes [{remaining} left{postfix}]"
            )
        return tqdm(total=self.total, initial=self.initial, smoothing=0.05, delay=SHOWN_FROM, **names)

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is None:
            self.total = self.done  # which may have been an estimate
        self.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block other work is done, whose time does not count."""
        since = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - since
            if self._bar is not None:
                self._bar.unpause()

    def update(self, count: float = 1) -> None:
        self.done += count
        if self._bar is not None:  # a bar without a total has no truth value
            if self.remark != (self._bar.postfix or ""):
                self._bar.set_postfix_str(self.remark, refresh=False)
            self._bar.update(count)
        elif self._lines and time.monotonic() >= self._due and self.done != self.total:
            self.sign()

    def pause(self) -> float:
        """Seconds of silence after which sign() is due."""
        return FIRST_LINE if self._bar is not None else _pause(time.monotonic() - self._began)

    def sign(self) -> None:
        """Show how far it is, though nothing may have changed but the time."""
        if self._bar is not None:
            self._bar.delay = 0  # it is shown from now on
            self._bar.refresh()
        elif self._lines:
            seconds = time.monotonic() - self._began
            self._due = time.monotonic() + _pause(seconds)
            self._say(self._so_far(seconds))

    def line(self, text: str) -> None:
        """A line of its own on stdout, above the bar."""
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """End the bar, full where all is done."""
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.close()
        elif self._lines and self.leave and self.total == self.done:
            seconds = time.monotonic() - self._began
            if seconds >= SHOWN_FROM:
                self._say(f"{self._amount(self.done)} {self._units} in {_clock(seconds)}")
        self._lines = False
        if self in _doing:
            _doing.remove(self)

    def _so_far(self, seconds: float) -> str:
        rate = (self.done - self.initial) / seconds
        amount = f"{self._amount(self.done)} {self._units}"
        if not rate:
            return f"{amount} in {_clock(seconds)}"
        pace = f"{self._amount(rate)} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        ending = [*filter(None, [pace if self.unit != "minute" else "", self.remark])]
        if not self.total:
            return ", ".join([amount, *ending])
        amount = f"{self._amount(self.done)} of {self._amount(self.total)} {self._units}"
        left = f"{_clock(max(0.0, (self.total - self.done) / rate))} left"
        return ", ".join([amount, f"{min(1.0, self.done / self.total):.0%}", left, *ending])

    @property
    def _units(self) -> str:
        return "MB" if self.unit == "B" else f"{self.unit}es" if self.unit.endswith("ch") else f"{self.unit}s"

    def _amount(self, count: float) -> str:
        return f"{count / 1e6:.1f}" if self.unit == "B" else f"{count:.1f}".removesuffix(".0")

    def _say(self, text: str) -> None:
        print(f"{self.desc}: {text}" if self.desc else text, file=sys.stderr, flush=True)


def _pause(seconds: float) -> float:
    """From one line to the next, of what has taken so many seconds."""
    return min(max(FIRST_LINE, seconds / 2), LONGEST_PAUSE)


def _clock(seconds: float) -> str:
    """Such as 0:07 or 2:13:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
