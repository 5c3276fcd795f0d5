"""Is the finetuned generator better than the one it started from? summary.json and summary.html of a run."""

import json
from pathlib import Path

from cli import write_text
from run_folder import History

MARGIN = 0.02  # part of a score by which it must change to count; less is noise
LOWER_IS_BETTER = {"mouth_l1": "the mouth's likeness", "sync_distance": "the lip-sync"}


def write(folder: Path, history: History, truth: dict[str, float]) -> None:
    """truth: the sync scores of the real footage. A run that was not scored at its start has nothing to compare."""
    best, start = history.best(), history.entries[0]
    better, verdict = judge(start["scores"], best["scores"]) if start["step"] == 0 else (None, "its start is not known")
    content = {
        "better": better, "verdict": verdict,
        "start": start, "best": best, "real_footage": truth, "evaluations": history.entries,
    }  # fmt: skip
    write_text(folder / "summary.json", json.dumps(content, indent=1) + "\n")


def judge(start: dict[str, float], best: dict[str, float]) -> tuple[bool, str]:
    """Whether the best scores beat those of the start, and a sentence: better means that likeness or lip-sync has
    gained more than MARGIN and neither has lost as much."""
    change = {name: best[name] / start[name] - 1 for name in LOWER_IS_BETTER if name in best and name in start}
    gained = [LOWER_IS_BETTER[name] for name, part in change.items() if part < -MARGIN]
    lost = [LOWER_IS_BETTER[name] for name, part in change.items() if part > MARGIN]
    if gained and not lost:
        return True, f"better than the start: {' and '.join(gained)} improved"
    if gained:
        return False, f"not better than the start: {gained[0]} improved, but {lost[0]} got worse"
    if lost:
        return False, f"not better than the start: {' and '.join(lost)} got worse; use the weights you started from"
    return False, "not better than the start: no score has changed by more than noise; train longer"
