"""The evaluations of a run: which is the best, whether it beats the weights that the run started from, the summary.

Scores go by the names that metrics/generators.py and training/refiner.py give them. `footage`: the expert's scores of
the real footage, `sync_offset` and `sync_evidence`; {} without an expert.
"""

from pathlib import Path
from typing import Any

import numpy as np

from media.reader import read_image
from metrics.glossary import GLOSSARY, NOT_MEASURABLE
from metrics.sync import SIGNIFICANT_Z_SCORE
from reports import page, plots
from reports.page import html
from training.checkpoint import SAMPLES
from utils.files import write_json

Scores = dict[str, float]

NOISE = 0.02  # part of a score; a smaller change is noise
NAMES = {"mouth_l1": "mouth L1", "gradient_distance": "gradient distance", "sync_distance": "sync distance"}
JSON, PAGE = "summary.json", "summary.html"


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
        worse = changes.get(_picture_score(start["scores"]), 0.0) > NOISE
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

    Better means that the picture score or the sync distance has fallen by more than NOISE, and neither has risen by as
    much. The sync distance does not count where the expert does not find the real footage in sync.
    """
    changes = _changes(start, best, footage)
    improved, worse = min(changes.values(), default=0.0) < -NOISE, max(changes.values(), default=0.0) > NOISE
    better = improved and not worse
    sentence = f"{'better' if better else 'not better'} than the start: {_listed(changes)}"
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
    counted = [_picture_score(start), *(["sync_distance"] if expert_is_reliable(footage) else [])]
    return {name: scores[name] / start[name] - 1 for name in counted if name in scores and name in start}


def _picture_score(scores: Scores) -> str:
    """A refiner is for sharpness, which L1 alone would give up."""
    return "gradient_distance" if "gradient_distance" in scores else "mouth_l1"


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
