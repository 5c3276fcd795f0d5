"""What a run shows of itself: a progress bar, lines on the terminal, TensorBoard; and the means of its losses."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from utils import distributed
from utils.errors import InputError
from utils.files import is_text
from utils.progress import Progress

ENDLESS = 100_000_000  # steps; the bar of a longer run shows no remaining time


@contextmanager
def open_log(folder: Path, first_step: int, last_step: int, minutes: float | None, spent: float) -> Iterator["RunLog"]:
    """The log of a run within the block; silent in all processes except the main one. minutes: the limit of the run,
    None for none; spent: minutes of learning so far."""
    if not is_text(str(folder.absolute())):
        raise InputError(f"{folder}: is not a valid UTF-8 name, which TensorBoard needs; choose another folder")
    logs, main, hook = folder / "logs", distributed.is_main(), threading.excepthook

    def thread_error(args: threading.ExceptHookArgs) -> None:
        """TensorBoard raises an OSError of its thread in the main thread too, so it is reported only there."""
        if not issubclass(args.exc_type, OSError):
            hook(args)

    total = minutes or (last_step if last_step < ENDLESS else None)
    initial, unit = (spent, "minute") if minutes else (first_step, "step")
    threading.excepthook = thread_error
    try:
        with ExitStack() as opened:
            bar = opened.enter_context(closing(Progress([], "training", unit, total, initial, disable=not main)))
            writer = SummaryWriter(logs, purge_step=first_step + 1) if main else None
            if writer:
                opened.callback(writer.close)
            yield RunLog(writer, bar, minutes)
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(logs)) from error  # TensorBoard's name no file
    finally:
        threading.excepthook = hook


class RunLog:
    """tensorboard: None in all processes except the main one; paused: a context whose time does not count in the bar's
    pace. The bar counts minutes where minutes end the run."""

    def __init__(self, tensorboard: SummaryWriter | None, bar: Progress, minutes: float | None) -> None:
        self.tensorboard, self._bar, self.minutes, self.paused = tensorboard, bar, minutes, bar.paused

    def step_done(self, minutes: float) -> None:
        """minutes: of learning so far."""
        self._bar.update(min(self.minutes, minutes) - self._bar.n if self.minutes else 1)

    def losses(self, values: dict[str, float], step: int) -> None:
        self._scalars("train", values, step)
        self._bar.set_postfix_str((f"step {step}, " if self.minutes else "") + format_values(values), refresh=False)

    def scores(self, scores: dict[str, float], losses: dict[str, float], step: int) -> None:
        self._scalars("eval", scores, step)
        self.line(f"step {step}: {format_values(scores)}" + (f"; training: {format_values(losses)}" if losses else ""))

    def line(self, text: str) -> None:
        self._bar.write(text)

    def _scalars(self, group: str, values: dict[str, float], step: int) -> None:
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard.add_scalar(f"{group}/{name}", value, step)


def format_values(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


class LossMeter:
    """Means of the losses between two readings, without waiting for a GPU at each step. last: what was logged last."""

    def __init__(self, state: dict) -> None:
        """state: of a checkpoint, so that the log of a resumed run has no gap; {} for a new one."""
        self.last: dict[str, float] = state.get("last", {})
        self._sums: dict[str, torch.Tensor | float] = dict(state.get("sums", {}))
        self._batches: int = state.get("batches", 0)

    def state(self) -> dict:
        return {
            "sums": {name: float(value) for name, value in self._sums.items()}, "batches": self._batches,
            "last": self.last,
        }  # fmt: skip

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """The losses of one batch."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._batches += 1

    def means(self) -> dict[str, float]:
        """Over the batches since the call before; waits for a GPU."""
        means = {name: float(value) / self._batches for name, value in self._sums.items()}
        self._sums, self._batches = {}, 0
        return means
