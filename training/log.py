"""What a run shows of itself: a progress bar, lines on the terminal, TensorBoard, sample pictures and clips."""

import tempfile
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

import audio
from media.writer import VideoWriter
from utils import distributed, images
from utils.errors import InputError
from utils.files import is_text
from utils.progress import Progress

ENDLESS = 100_000_000  # steps; the bar of a longer run shows no remaining time


class RunLog:
    """A context manager; silent in all processes except the main one. The bar counts minutes where minutes end the run.

    tensorboard: None in the other processes; paused: a context whose time does not count in the bar's pace.
    """

    def __init__(self, folder: Path, first_step: int, last_step: int, minutes: float | None, spent: float) -> None:
        """minutes: the limit of the run, None for none; spent: minutes of learning so far."""
        if not is_text(str(folder.absolute())):
            raise InputError(f"{folder}: is not a valid UTF-8 name, which TensorBoard needs; choose another folder")
        main, self.minutes, self.folder = distributed.is_main(), minutes, folder / "logs"
        self._thread_hook = threading.excepthook
        threading.excepthook = self._thread_error
        try:
            self.tensorboard = SummaryWriter(self.folder, purge_step=first_step + 1) if main else None
        except OSError as error:
            raise self._with_name(error) from error
        total = minutes or (last_step if last_step < ENDLESS else None)
        initial, unit = (spent, "minute") if minutes else (first_step, "step")
        self._bar = Progress([], "training", unit, total, initial, disable=not main)
        self.paused = self._bar.paused

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._bar.close()
        unnamed = error if isinstance(error, OSError) and not error.filename else None  # as TensorBoard's are
        try:
            if self.tensorboard:
                self.tensorboard.close()
        except OSError as late:
            unnamed = unnamed or (None if error else late)
        threading.excepthook = self._thread_hook
        if unnamed:
            raise self._with_name(unnamed) from unnamed

    def _with_name(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self.folder))

    def _thread_error(self, args: threading.ExceptHookArgs) -> None:
        """TensorBoard raises an OSError of its thread in the main thread too, so it is reported only there."""
        if not issubclass(args.exc_type, OSError):
            self._thread_hook(args)

    def step_done(self, minutes: float) -> None:
        """minutes: of learning so far."""
        self._bar.update(min(self.minutes, minutes) - self._bar.n if self.minutes else 1)

    def losses(self, values: dict[str, float], step: int) -> None:
        """Training losses and rates, for TensorBoard and the bar."""
        self._scalars("train", values, step)
        self._bar.set_postfix_str((f"step {step}, " if self.minutes else "") + format_values(values), refresh=False)

    def scores(self, scores: dict[str, float], losses: dict[str, float], step: int) -> None:
        """Scores of an evaluation, with the latest training losses."""
        self._scalars("eval", scores, step)
        self.line(f"step {step}: {format_values(scores)}" + (f"; training: {format_values(losses)}" if losses else ""))

    def line(self, text: str) -> None:
        """A line on the terminal, above the bar."""
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


def show_samples(folder: Path, step: int, rows: dict[str, Iterable[torch.Tensor]], tensorboard: SummaryWriter) -> None:
    """By label, rows of BGR pictures [3, H, W] in 0..1, row below row: samples/step<step>.png and TensorBoard."""
    picture = images.labelled_rows({label: [_to_uint8(tensor) for tensor in row] for label, row in rows.items()})
    path = sample_path(folder, step, ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_png(path, picture)
    tensorboard.add_image("samples", picture[..., ::-1].copy(), step, dataformats="HWC")


def sample_path(folder: Path, step: int, suffix: str) -> Path:
    return folder / "samples" / f"step{step:09d}{suffix}"


def _to_uint8(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def write_clip(path: Path, faces: np.ndarray, fps: int, wav: np.ndarray, sample_rate: int) -> None:
    """faces: uint8 BGR [N, S, S, 3]; wav: float [samples], cut to the length of the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        audio.save_wav(wav[: len(faces) * sample_rate // fps], sound, sample_rate)
        with VideoWriter(path, Fraction(fps), sound) as writer:
            for number, face in enumerate(faces):
                writer.write(face, number / fps)
