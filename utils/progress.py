"""How far a stage is: tqdm's bar in a terminal, now and then a line where stderr is a file, a pipe or a notebook.

    for clip in Progress(clips, "survey", unit="clip"): ...
    with Progress(desc="s3fd", unit="B", total=size) as progress: progress.update(len(block))
    with doing("reading the weights"): ...

Work of less than a second shows nothing. After five seconds of silence signs_of_life says what is being done. Nothing
of it is shown where the environment variable TQDM_DISABLE is set; --quiet sets it, for child processes too. Where
WAV2LIP_PROGRESS is "json", a program reads stderr: twice a second a line of JSON says what is being done, and how far
it is: {"what", "done", "total", "unit", "remaining"}, the last one in seconds.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import length_hint
from typing import Any

from tqdm import tqdm

from utils.process import PROGRESS

DISABLED = "TQDM_DISABLE"
JSON_PAUSE = 0.5  # seconds between two lines of JSON
SHOWN_FROM = 1.0  # seconds of work
FIRST_LINE, LONGEST_PAUSE = 5.0, 300.0  # seconds from the start to the first line, and at most between two lines
WAITING = ""  # what a script is doing while it waits for somebody: no sign of life
CURSOR_UP = "\x1b[A"  # between bars one below the other
MINUTES_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} minutes [{remaining} left{postfix}]"


class Progress(tqdm):
    """tqdm with this project's defaults: an iterable whose items are counted, or a context manager with update().

    unit: "B" is shown in megabytes, "minute" without a rate; total may be an estimate: at the end it is what was done.
    """

    def __init__(
        self, items: Iterable[Any] | None = None, desc: str = "", unit: str = "it", total: float | None = None,
        initial: float = 0, leave: bool = True, disable: bool = False,
    ) -> None:  # fmt: skip
        self.terminal = sys.stderr.isatty() and not for_programs()
        total = total or (length_hint(items) if items is not None else 0) or None
        super().__init__(
            items, desc or None, total, leave, sys.stderr if self.terminal else _Lines(), unit=unit,
            unit_scale=unit == "B", initial=initial, smoothing=0.05, delay=SHOWN_FROM, miniters=0,
            mininterval=0.1 if self.terminal else FIRST_LINE, bar_format=MINUTES_BAR if unit == "minute" else None,
            disable=disable or bool(os.environ.get(DISABLED)),
        )  # fmt: skip
        if not self.disable:
            _works.add(self)

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.iterable:
                yield item
                self.update()

    def __exit__(self, error: Any, *_: Any) -> None:
        if error is None:
            self.total = self.n
        self.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block other work is done, whose time does not count."""
        since = time.time()
        try:
            yield
        finally:
            if not self.disable:
                self.start_t += time.time() - since
                self.last_print_t += time.time() - since

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if for_programs():  # the thread of signs_of_life prints
            return
        _works.changed = time.time()
        if not self.terminal:
            self.mininterval = _pause(time.time() - self.start_t)
        super().display(msg, pos)

    def pause(self) -> float:
        """Seconds of silence after which the bar is shown though nothing has changed but the time: more than between
        two lines, whose counts give the rate."""
        return FIRST_LINE if self.terminal else 1.5 * self.mininterval

    def sign(self) -> None:
        self.refresh()

    def state(self) -> dict[str, Any]:
        about = self.format_dict
        rate = about["rate"] or (self.n - self.initial) / max(about["elapsed"], 1e-6)
        remaining = (self.total - self.n) / rate if self.total and rate else None
        return {
            "what": self.desc.removesuffix(": "), "done": self.n, "total": self.total, "unit": self.unit,
            "remaining": remaining,
        }  # fmt: skip

    def close(self) -> None:
        if not self.disable:
            _works.end(self)
            if time.time() - self.start_t >= SHOWN_FROM and not self.terminal and self.leave:
                self.last_print_t = time.time()  # the last line is shown, whether there was one before or not
        super().close()


class _Lines:
    """Takes what tqdm writes to a terminal and prints every state of a bar as a line of stderr."""

    def write(self, text: str) -> None:
        if line := text.replace(CURSOR_UP, "").strip():
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Lines are flushed when they are printed."""


class _Work:
    """Work without a count."""

    def __init__(self, what: str) -> None:
        self.what, self.began = what, time.time()

    def pause(self) -> float:
        return math.inf if self.what == WAITING else _pause(time.time() - self.began)

    def sign(self) -> None:
        seconds = tqdm.format_interval(time.time() - self.began)
        print(f"{self.what}: {seconds} so far", file=sys.stderr, flush=True)

    def state(self) -> dict[str, Any]:
        return {"what": self.what, "done": None, "total": None, "unit": "", "remaining": None}


class _Works:
    """What is in progress, outermost first. changed: when something began, ended or was shown last."""

    def __init__(self) -> None:
        self.going: list[Progress | _Work] = []
        self.changed = 0.0

    def add(self, work: Progress | _Work) -> None:
        self.going.append(work)
        self.changed = time.time()

    def end(self, work: Progress | _Work) -> None:
        self.going = [other for other in self.going if other is not work]  # bars at one place are equal to each other
        self.changed = time.time()


_works = _Works()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Within the block this is what the script is doing, as signs_of_life says it: such as "reading the weights"."""
    work = _Work(what)
    _works.add(work)
    try:
        yield
    finally:
        _works.end(work)


@contextmanager
def signs_of_life(what: str) -> Iterator[None]:
    """Within the block, after FIRST_LINE seconds of silence, a line on stderr says what is being done, and again after
    longer and longer pauses; a bar is drawn again. what: where nothing more is known."""
    if os.environ.get(DISABLED):
        yield
        return
    ended = threading.Event()

    def report() -> None:
        while True:
            with suppress(OSError, ValueError):
                print(json.dumps(_works.going[-1].state()), file=sys.stderr, flush=True)
            if ended.wait(JSON_PAUSE):
                return

    def watch() -> None:
        while not ended.wait(SHOWN_FROM):
            work = _works.going[-1]
            if time.time() - _works.changed >= work.pause():
                _works.changed = time.time()
                with suppress(OSError, ValueError):  # of a stream that is closed
                    work.sign()

    thread = threading.Thread(target=report if for_programs() else watch, daemon=True)
    with doing(what):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(SHOWN_FROM)
            for work in _works.going:
                if isinstance(work, Progress):  # of a loop that an error has left: its line comes before the error's
                    work.close()


def for_programs() -> bool:
    """Whether progress is printed as JSON."""
    return os.environ.get(PROGRESS) == "json"


def _pause(seconds: float) -> float:
    """From one line to the next, of work that has taken so many seconds."""
    return min(max(FIRST_LINE, seconds / 2), LONGEST_PAUSE)
