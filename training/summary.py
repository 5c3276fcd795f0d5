"""Is the finetuned generator better than the one it started from? summary.json and summary.html of a run."""

from pathlib import Path

import numpy as np

from media.reader import read_image
from metrics.glossary import GLOSSARY, NOT_MEASURABLE
from reports import page, plots
from reports.page import html
from training import verdict
from training.checkpoint import History
from utils import images
from utils.files import read_json, write_json

PAGE = "summary.html"


def write(folder: Path, history: History, truth: dict[str, float]) -> None:
    """truth: the sync scores of the real footage. A run that was not scored at its start has nothing to compare."""
    best, start = history.best(), history.entries[0]
    better, sentence = verdict.of_run(history.entries, best, truth)
    content = {
        "better": better, "verdict": sentence,
        "start": start, "best": best, "real_footage": truth, "evaluations": history.entries,
    }  # fmt: skip
    write_json(folder / "summary.json", content)
    page.write(folder / PAGE, "Is it better than what it started from?", _parts(folder, content))


def read(folder: Path) -> dict:
    """What `write` has last found: `better`, `verdict`, `start`, `best` and the others."""
    return read_json(folder / "summary.json")


def conclusion(folder: Path, history: History, truth: dict[str, float]) -> str:
    """A line at the end of a run: where the summary is, and its verdict."""
    return f"{folder / PAGE}: {verdict.of_run(history.entries, history.best(), truth)[1]}"


def _parts(folder: Path, content: dict) -> list:
    start, best, truth = content["start"], content["best"], content["real_footage"]
    what, other = ("last", content["evaluations"][-1]) if best is start else ("best", best)
    names = list(other["scores"])
    entries = {f"start (step {start['step']})": start["scores"], f"{what} (step {other['step']})": other["scores"]}
    entries["real footage"] = truth
    rows = [("", *entries), *((name, *(_number(of, name, truth) for of in entries.values())) for name in names)]
    kind = {True: "good", False: "bad", None: "remark"}[content["better"]]
    parts = [html.text(content["verdict"], kind), html.table(rows, GLOSSARY), html.legend(names, GLOSSARY)]
    strips = _strips(folder, {"start": start["step"], what: other["step"]})
    if strips is not None:
        parts += [html.heading("Held-out clips"), html.rows(strips, "faces of held-out clips")]
    drawn = {}
    for name in names:
        lines = {"held-out": [(e["step"], e["scores"][name]) for e in content["evaluations"] if name in e["scores"]]}
        trained = [(e["step"], e["losses"][name]) for e in content["evaluations"] if name in e["losses"]]
        drawn[name] = plots.lines(lines | ({"training": trained} if trained else {}), "step")
    return [*parts, html.heading("By step"), html.plots(drawn)]


def _number(scores: dict[str, float], name: str, truth: dict[str, float]) -> str:
    """A score for the table. An expert that does not know the footage tells no offsets."""
    if name not in scores:
        return ""
    if name == "sync_offset":
        return f"{scores[name]:+.0f}" if verdict.expert_is_reliable(truth) else NOT_MEASURABLE
    return f"{scores[name]:.4g}"


def _strips(folder: Path, steps: dict[str, int]) -> dict[str, np.ndarray] | None:
    """By label, rows of the sample grids (the last two of four: generated, true): generated at two steps, and true."""
    paths = [folder / "samples" / f"step{step:09d}.png" for step in steps.values()]
    if not all(path.exists() for path in paths):
        return None
    first, last = (read_image(path) for path in paths)
    if first.shape != last.shape:  # the run began with another version, which drew them otherwise
        return None
    grids = zip(steps.items(), (first, last), strict=True)
    rows = {f"{what} (step {step})": (grid, 2) for (what, step), grid in grids} | {"true": (last, 3)}
    return {label: images.pictures_of(grid, 4, row) for label, (grid, row) in rows.items()}
