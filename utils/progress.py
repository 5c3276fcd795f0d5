"""How far a stage is: a bar in a terminal, now and then a line where stderr is a file, a pipe or a notebook.

    for clip in Progress(clips, "survey", unit="clip"): ...
    with Progress(desc="s3fd", unit="B", total=size) as progress: progress.update(len(block))

Neither is shown where the environment variable TQDM_DISABLE is set; --quiet sets it, for child processes, too.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from pathlib import Path
from typing import Any, TextIO

DISABLED = "TQDM_DISABLE"
FIRST_LINE, LONGEST_PAUSE = 10.0, 300.0  # seconds: from the start to the first line, at most from one to the next


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


class Progress:
    """Called like tqdm: an iterable whose items are counted, or a context manager in which update() counts.

    unit: "B" is shown in megabytes; total: else as many as items has, where it says; initial: what was done before;
    leave: whether the bar stays when all is done, or a line says so.
    """

    def __init__(
        self,
        items: Iterable[Any] = (),
        desc: str = "",
        unit: str = "it",
        total: int | None = None,
        initial: int = 0,
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
        if sys.stderr.isatty():
            self._bar = self._terminal_bar()
        else:
            self._lines = True

    def _terminal_bar(self) -> Any:
        from tqdm import tqdm

        names = {"desc": self.desc or None, "unit": self.unit, "unit_scale": self.unit == "B", "leave": self.leave}
        return tqdm(total=self.total, initial=self.initial, smoothing=0.05, **names)

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

    def update(self, count: int = 1) -> None:
        self.done += count
        if self._bar is not None:  # a bar without a total has no truth value
            if self.remark != (self._bar.postfix or ""):
                self._bar.set_postfix_str(self.remark, refresh=False)
            self._bar.update(count)
        elif self._lines and time.monotonic() >= self._due and self.done != self.total:
            seconds = time.monotonic() - self._began
            self._due = time.monotonic() + min(max(FIRST_LINE, seconds / 2), LONGEST_PAUSE)
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
            self._say(f"{self._amount(self.done)} {self._units} in {_clock(time.monotonic() - self._began)}")
        self._lines = False

    def _so_far(self, seconds: float) -> str:
        rate = (self.done - self.initial) / seconds
        amount = f"{self._amount(self.done)} {self._units}"
        if not rate:
            return amount
        pace = f"{self._amount(rate)} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
        ending = [pace, *filter(None, [self.remark])]
        if not self.total:
            return ", ".join([amount, *ending])
        amount = f"{self._amount(self.done)} of {self._amount(self.total)} {self._units}"
        left = f"{_clock(max(0.0, (self.total - self.done) / rate))} left"
        return ", ".join([amount, f"{min(1.0, self.done / self.total):.0%}", left, *ending])

    @property
    def _units(self) -> str:
        return "MB" if self.unit == "B" else f"{self.unit}s"

    def _amount(self, count: float) -> str:
        return f"{count / 1e6:.1f}" if self.unit == "B" else f"{count:.1f}".removesuffix(".0")

    def _say(self, text: str) -> None:
        print(f"{self.desc}: {text}" if self.desc else text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """Such as 0:07 or 2:13:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
