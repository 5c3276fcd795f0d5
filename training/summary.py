"""Is the finetuned generator better than the one it started from? summary.json and summary.html of a run."""

from pathlib import Path

import numpy as np

from media.reader import read_image
from metrics.sync_offset import TRUSTED_EVIDENCE
from reports import page, plots
from training.run_directory import History
from utils import sheet
from utils.files import write_json

MARGIN = 0.02  # part of a score by which it must change to count; less is noise
LOWER_IS_BETTER = {"mouth_l1": "the mouth's likeness", "sync_distance": "the lip-sync"}


def write(folder: Path, history: History, truth: dict[str, float]) -> None:
    """truth: the sync scores of the real footage. A run that was not scored at its start has nothing to compare."""
    best, start = history.best(), history.entries[0]
    better, verdict = None, "its start is not known"
    if start["step"] == 0:
        better, verdict = compare_scores(start["scores"], best["scores"], truth)
    content = {
        "better": better, "verdict": verdict,
        "start": start, "best": best, "real_footage": truth, "evaluations": history.entries,
    }  # fmt: skip
    write_json(folder / "summary.json", content)
    page.write(folder / "summary.html", "Is it better than what it started from?", _parts(folder, content))


def _parts(folder: Path, content: dict) -> list[page.Part]:
    start, best, truth = content["start"], content["best"], content["real_footage"]
    names = list(best["scores"])
    rows = [
        ("", *names),
        *((f"{what} (step {entry['step']})", *(f"{entry['scores'].get(name, 0):.4g}" for name in names))
          for what, entry in (("start", start), ("best", best))),
        ("real footage", *(f"{truth[name]:.4g}" if name in truth else "" for name in names)),
    ]  # fmt: skip
    kind = {True: "", False: "bad", None: "remark"}[content["better"]]
    parts: list[page.Part] = [page.Text(content["verdict"], kind), page.Table(rows)]
    strips = _strips(folder, start["step"], best["step"])
    if strips is not None:
        parts += [
            page.Heading("Clips kept aside: as generated at the start, by the best weights, and the truth"),
            page.Picture(strips, "three rows of faces: start, best, true"),
        ]
    parts.append(page.Heading("By step"))
    drawn = []
    for name in names:
        lines = {"kept aside": [(e["step"], e["scores"][name]) for e in content["evaluations"] if name in e["scores"]]}
        trained = [(e["step"], e["losses"][name]) for e in content["evaluations"] if name in e["losses"]]
        figure = plots.lines(lines | ({"training": trained} if trained else {}), "step")
        drawn.append(page.Plot(figure, f"{name} over steps", name))
    return [*parts, page.Plots(drawn)]


def _strips(folder: Path, start: int, best: int) -> np.ndarray | None:
    """Rows of the sample grids (the last two of four: generated, true): generated at the start and by the best,
    true."""
    paths = [folder / "samples" / f"step{step:09d}.png" for step in (start, best)]
    if not all(path.exists() for path in paths):
        return None
    first, last = (read_image(path) for path in paths)
    if first.shape != last.shape:  # the run began with another version, which drew them otherwise
        return None
    rows = {"start": (first, 2), "best": (last, 2), "true": (last, 3)}
    return sheet.labelled_rows({label: [sheet.pictures_of(grid, 4, row)] for label, (grid, row) in rows.items()})


def compare_scores(start: dict[str, float], best: dict[str, float], truth: dict[str, float]) -> tuple[bool, str]:
    """Whether the best scores beat those of the start, and a sentence: better means that likeness or lip-sync has
    gained more than MARGIN and neither has lost as much. Scores of an expert that does not find the real footage (its
    scores are `truth`) in sync count for nothing."""
    known = knows_footage(truth)
    counted = LOWER_IS_BETTER if known else {"mouth_l1": LOWER_IS_BETTER["mouth_l1"]}
    better, verdict = _verdict(start, best, counted)
    if known:
        return better, verdict
    return better, (
        f"{verdict}; judged by likeness alone: the expert puts the real footage at offset {truth['sync_offset']:+.0f} "
        f"with confidence {truth['sync_confidence']:.2f}, so that its scores prove nothing"
    )


def relative_score(scores: dict[str, float], start: dict[str, float], truth: dict[str, float]) -> float:
    """What is to be small in a mouth, the start's scores being 3: its L1 and, where the expert knows the footage, its
    sync distance, both over those of the start; and how far its contrast lies from the true one's, which L1 alone would
    give up."""
    known = knows_footage(truth) and "sync_distance" in scores and "sync_distance" in start
    sync = scores["sync_distance"] / start["sync_distance"] if known else 1.0
    contrast = 1 + abs(1 - scores["contrast"]) - abs(1 - start["contrast"])
    return scores["mouth_l1"] / start["mouth_l1"] + sync + contrast


def knows_footage(truth: dict[str, float]) -> bool:
    """Whether an expert whose scores of the real footage these are finds it in sync, so that its scores count."""
    return abs(truth.get("sync_offset", 0)) <= 1 and truth.get("sync_evidence", np.inf) >= TRUSTED_EVIDENCE


def _verdict(start: dict[str, float], best: dict[str, float], counted: dict[str, str]) -> tuple[bool, str]:
    change = {name: best[name] / start[name] - 1 for name in counted if name in best and name in start}
    gained = [LOWER_IS_BETTER[name] for name, part in change.items() if part < -MARGIN]
    lost = [LOWER_IS_BETTER[name] for name, part in change.items() if part > MARGIN]
    if gained and not lost:
        return True, f"better than the start: {' and '.join(gained)} improved"
    if gained:
        return False, f"not better than the start: {gained[0]} improved, but {lost[0]} got worse"
    if lost:
        return False, f"not better than the start: {' and '.join(lost)} got worse; use the weights you started from"
    return False, "not better than the start: no score has changed by more than noise; train longer"
