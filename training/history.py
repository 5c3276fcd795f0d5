"""What a run shows and records of itself: progress bar, TensorBoard and lines on the terminal, means of its losses; its
evaluations, which of them is the best, whether that beats the weights that the run started from, and the summary.

Scores go by the names that metrics/generators.py gives them. `footage`: the expert's scores of
the real footage, `sync_offset` and `sync_evidence`; {} without an expert.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from media.reader import read_image
from metrics.glossary import GLOSSARY, NOT_MEASURABLE
from metrics.sync import SIGNIFICANT_Z_SCORE
from reports import page, plots
from reports.page import html
from training.checkpoint import SAMPLES
from utils import distributed
from utils.errors import InputError
from utils.files import is_text, write_json
from utils.progress import Progress

Scores = dict[str, float]

NOISE = 0.02  # part of a score; a smaller change is noise
FADED = 0.05  # by which contrast or motion may move away from the footage's, as those of a blurred mouth do
NAMES = {"mouth_l1": "mouth L1", "sync_distance": "sync distance"}
JSON, PAGE = "summary.json", "summary.html"
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


class History:
    """entries: of each evaluation `step`, training `losses`, `scores`; best_step: of best.pth, None without one."""

    def __init__(self, content: dict, judge: Any, best_exists: bool = True) -> None:
        """content: of the checkpoint that the run resumes from; judge: the Training, for its `objective` and
        `better`."""
        self.judge = judge
        self.entries: list[dict] = content.get("history", [])
        self.best_step: int | None = content.get("best_step") if best_exists else None

    def add(self, step: int, losses: Scores, scores: Scores) -> bool:
        """Note an evaluation; returns whether it is the best so far."""
        best = self.is_best(scores)
        if best:
            self.best_step = step
        self.entries.append({"step": step, "losses": losses, "scores": scores})
        return best

    def is_best(self, scores: Scores) -> bool:
        if not self.entries:
            return True
        if not self.judge.better(self.entries[0]["scores"], scores):
            return False
        return self.best_step is None or self.judge.objective(scores) < self.judge.objective(self.best()["scores"])

    def best(self) -> dict:
        """The entry of best.pth; the first one where there is none."""
        return next((entry for entry in self.entries if entry["step"] == self.best_step), self.entries[0])

    def since_lowest(self) -> int:
        """The number of evaluations since the objective was lowest."""
        objectives = [self.judge.objective(entry["scores"]) for entry in self.entries]
        return len(objectives) - 1 - objectives.index(min(objectives))

    def verdict(self, footage: Scores) -> tuple[bool | None, str]:
        """Whether the best weights are better than the start's, None where that is not known, and a sentence."""
        start, last, best = self.entries[0], self.entries[-1], self.best()
        if start["step"] != 0:
            return None, "the start of the run was not evaluated"
        if last is start:
            return None, "only the start has been evaluated so far"
        if best is not start:
            return compare_scores(start["scores"], best["scores"], footage)
        changes = _changes(start["scores"], last["scores"], footage)
        worse = changes.get("mouth_l1", 0.0) > NOISE
        advice = "lower the learning rate (--hparams), or add footage" if worse else "train longer, or add footage"
        contrasts = [f"{entry['scores']['contrast']:.2g}" for entry in (start, last) if "contrast" in entry["scores"]]
        listed = _listed(changes) + (f", contrast {' → '.join(contrasts)}" if contrasts else "")
        return False, f"no evaluation was better than the start (step {last['step']}: {listed}); {advice}"

    def remarks(self, footage: Scores) -> list[str]:
        """A line where the last evaluation is worse than the start."""
        start, last = self.entries[0], self.entries[-1]
        changes = _changes(start["scores"], last["scores"], footage) if start["step"] == 0 else {}
        if max(changes.values(), default=0.0) <= NOISE:
            return []
        return [f"step {last['step']}: worse than the start: {_listed(changes)}"]

    def write_summary(self, folder: Path, footage: Scores) -> None:
        """summary.json and summary.html."""
        better, sentence = self.verdict(footage)
        content = {
            "better": better, "verdict": sentence, "start": self.entries[0], "best": self.best(),
            "real_footage": footage, "evaluations": self.entries,
        }  # fmt: skip
        write_json(folder / JSON, content)
        page.write(folder / PAGE, "Is it better than what it started from?", _parts(folder, content))


def compare_scores(start: Scores, best: Scores, footage: Scores) -> tuple[bool, str]:
    """Whether the best scores beat those of the start, and a sentence.

    Better means that the mouth's L1 or the sync distance has fallen by more than NOISE, that neither has risen by as
    much, and that the mouth has not faded: the mean of all mouths is near to each in L1, but pale, and hardly moves.
    The sync distance does not count where the expert does not find the real footage in sync.
    """
    changes, faded = _changes(start, best, footage), _faded(start, best)
    improved, worse = min(changes.values(), default=0.0) < -NOISE, max(changes.values(), default=0.0) > NOISE
    better = improved and not worse and not faded
    sentence = f"{'better' if better else 'not better'} than the start: {_listed(changes)}{faded}"
    if not improved:
        sentence += "; use the weights you started from" if worse else "; that is noise: train longer"
    if expert_is_reliable(footage):
        return better, sentence
    reason = "cannot tell the real footage from the same shifted in time"
    if footage.get("sync_evidence", np.inf) >= SIGNIFICANT_Z_SCORE:
        reason = f"puts the real footage at offset {footage['sync_offset']:+.0f}"
    return better, f"{sentence}; lip-sync was not judged: the expert {reason}"


def relative_score(scores: Scores, start: Scores, footage: Scores) -> float:
    """What --hparams best_by=mouth minimises; 3 for the scores of the start.

    Mouth L1 and, by a reliable expert, sync distance, each over the start's; and the distance of the contrast from that
    of the footage, which L1 alone would give up.
    """
    judged = expert_is_reliable(footage) and "sync_distance" in scores and "sync_distance" in start
    sync = scores["sync_distance"] / start["sync_distance"] if judged else 1.0
    contrast = 1 + abs(1 - scores["contrast"]) - abs(1 - start["contrast"])
    return scores["mouth_l1"] / start["mouth_l1"] + sync + contrast


def expert_is_reliable(footage: Scores) -> bool:
    """Whether the expert finds the real footage in sync, so that its scores count."""
    return abs(footage.get("sync_offset", 0)) <= 1 and footage.get("sync_evidence", np.inf) >= SIGNIFICANT_Z_SCORE


def _changes(start: Scores, scores: Scores, footage: Scores) -> Scores:
    """By which part of the start's value each score that counts has changed; above zero is worse."""
    counted = ["mouth_l1", *(["sync_distance"] if expert_is_reliable(footage) else [])]
    return {name: scores[name] / start[name] - 1 for name in counted if name in scores and name in start}


def _faded(start: Scores, scores: Scores) -> str:
    """Which of contrast and motion, 1 in the footage, have moved away from it by more than FADED; "" for none."""
    both = [name for name in ("contrast", "motion") if name in start and name in scores]
    names = [name for name in both if abs(1 - scores[name]) - abs(1 - start[name]) > FADED]
    return "".join(f", {name} {start[name]:.2g} → {scores[name]:.2g}" for name in names)


def _listed(changes: Scores) -> str:
    return ", ".join(f"{NAMES[name]} {change:+.0%}" for name, change in changes.items())


def _parts(folder: Path, content: dict) -> list:
    """Of summary.html. Where the best is the start, the last evaluation is shown beside it."""
    start, truth, evaluations = content["start"], content["real_footage"], content["evaluations"]
    what, other = ("last", evaluations[-1]) if content["best"] is start else ("best", content["best"])
    names, titles = list(other["scores"]), {"start": start, what: other}
    titles = {f"{name} (step {entry['step']})": entry for name, entry in titles.items()}
    columns = {title: entry["scores"] for title, entry in titles.items()} | {"real footage": truth}
    rows = [("", *columns), *((name, *(_number(of, name, truth) for of in columns.values())) for name in names)]
    kind = {True: "good", False: "bad", None: "remark"}[content["better"]]
    parts = [html.text(content["verdict"], kind), html.table(rows, GLOSSARY), html.legend(names, GLOSSARY)]
    for title, entry in titles.items():
        sheet = folder / f"{SAMPLES.format(entry['step'])}.png"
        if sheet.exists():
            parts += [html.heading(f"Held-out clips: {title}"), html.picture(read_image(sheet), "faces of clips")]
    drawn = {}
    for name in names:
        lines = {"held-out": [(e["step"], e["scores"][name]) for e in evaluations if name in e["scores"]]}
        trained = [(e["step"], e["losses"][name]) for e in evaluations if name in e["losses"]]
        drawn[name] = plots.lines(lines | ({"training": trained} if trained else {}), "step")
    return [*parts, html.heading("By step"), html.plots(drawn)]


def _number(scores: Scores, name: str, truth: Scores) -> str:
    """A score for the table. An expert that does not know the footage tells no offsets."""
    if name not in scores:
        return ""
    if name == "sync_offset":
        return f"{scores[name]:+.0f}" if expert_is_reliable(truth) else NOT_MEASURABLE
    return f"{scores[name]:.4g}"
