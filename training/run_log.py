"""What a run prints and logs while it goes: a progress bar, lines on the terminal, TensorBoard."""

import threading
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from training.schedule import Clock
from utils import distributed
from utils.errors import InputError
from utils.files import is_text
from utils.progress import Progress

ENDLESS = 100_000_000  # steps; a run that would take more is stopped by hand, and its bar shows no time left


class RunLog:
    """A context manager; silent in all processes but the main one. The bar counts minutes where these end the run.
    tensorboard: None in the others. paused: a context whose time is not counted to the pace."""

    def __init__(self, folder: Path, first_step: int, last_step: int, clock: Clock) -> None:
        if not is_text(str(folder.absolute())):
            raise InputError(f"{folder}: has no name in UTF-8, which TensorBoard needs; choose another folder")
        main, self.clock = distributed.is_main(), clock
        self.folder, self._thread_hook = folder / "logs", threading.excepthook
        threading.excepthook = self._of_thread
        try:
            self.tensorboard = SummaryWriter(self.folder, purge_step=first_step + 1) if main else None
        except OSError as full:
            raise self._named(full) from full
        unit, total, initial = "step", last_step if last_step < ENDLESS else None, float(first_step)
        if clock.minutes:
            unit, initial = "minute", clock.seconds / 60
        self._bar = Progress([], "training", unit, clock.minutes or total, initial, disable=not main)
        self.paused = self._bar.paused

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._bar.close()
        full = error if isinstance(error, OSError) and not error.filename else None  # TensorBoard's name no file
        try:
            if self.tensorboard:
                self.tensorboard.close()
        except OSError as late:
            full = full or (None if error else late)
        threading.excepthook = self._thread_hook
        if full:
            raise self._named(full) from full

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self.folder))

    def _of_thread(self, args: threading.ExceptHookArgs) -> None:
        """An error of TensorBoard's thread is raised in the main one, too, which alone tells of it."""
        if not issubclass(args.exc_type, OSError):
            self._thread_hook(args)

    def step_done(self) -> None:
        minutes = self.clock.minutes
        self._bar.update(min(minutes, self.clock.seconds / 60) - self._bar.n if minutes else 1)

    def losses(self, values: dict[str, float], step: int) -> None:
        """Training losses and rates, for TensorBoard and the bar."""
        self._scalars("train", values, step)
        self._bar.set_postfix_str((f"step {step}, " if self.clock.minutes else "") + in_words(values), refresh=False)

    def scores(self, scores: dict[str, float], losses: dict[str, float], step: int) -> None:
        """Evaluation scores, with the latest training losses."""
        self._scalars("eval", scores, step)
        self.line(f"step {step}: {in_words(scores)}" + (f"; training: {in_words(losses)}" if losses else ""))

    def line(self, text: str) -> None:
        """A line on the terminal, above the bar."""
        self._bar.write(text)

    def _scalars(self, group: str, values: dict[str, float], step: int) -> None:
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard.add_scalar(f"{group}/{name}", value, step)


def in_words(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
