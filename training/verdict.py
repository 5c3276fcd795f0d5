"""Whether trained weights are better than those that a run started from, by the scores of its evaluations.

Used here are scores by name, as metrics/generators.py and training/refiner.py make them: `mouth_l1`,
`gradient_distance` (of a refiner), `sync_distance` and `contrast`. `footage` are the expert's scores of the real
footage: `sync_offset` and `sync_evidence`, {} without an expert. `entries` are those of History in checkpoint.py.
"""

import numpy as np

from metrics.sync import SIGNIFICANT_Z_SCORE

Scores = dict[str, float]

MARGIN = 0.02  # part of a score; a smaller change is noise
NAMES = {"mouth_l1": "mouth L1", "gradient_distance": "gradient distance", "sync_distance": "sync distance"}


def of_run(entries: list[dict], best: dict, footage: Scores) -> tuple[bool | None, str]:
    """Whether the best entry is better than the start, None where that is not known, and a sentence."""
    start, last = entries[0], entries[-1]
    if start["step"] != 0:
        return None, "the start of the run was not evaluated"
    if last is start:
        return None, "only the start has been evaluated so far"
    if best is not start:
        return compare_scores(start["scores"], best["scores"], footage)
    changes = _changes(start["scores"], last["scores"], footage)
    worse = changes.get(_picture_score(start["scores"]), 0.0) > MARGIN
    advice = "lower the learning rate (--hparams), or add footage" if worse else "train longer, or add footage"
    contrasts = [f"{entry['scores']['contrast']:.2g}" for entry in (start, last) if "contrast" in entry["scores"]]
    listed = _listed(changes) + (f", contrast {' → '.join(contrasts)}" if contrasts else "")
    return False, f"no evaluation was better than the start (step {last['step']}: {listed}); {advice}"


def remarks(entries: list[dict], footage: Scores) -> list[str]:
    """A line where the last evaluation is worse than the start."""
    start, last = entries[0], entries[-1]
    changes = _changes(start["scores"], last["scores"], footage) if start["step"] == 0 else {}
    if max(changes.values(), default=0.0) <= MARGIN:
        return []
    return [f"step {last['step']}: worse than the start: {_listed(changes)}"]


def compare_scores(start: Scores, best: Scores, footage: Scores) -> tuple[bool, str]:
    """Whether the best scores beat those of the start, and a sentence.

    Better means that the picture score or the sync distance has fallen by more than MARGIN, and neither has risen by as
    much. The sync distance does not count where the expert does not find the real footage in sync.
    """
    changes = _changes(start, best, footage)
    improved, worse = min(changes.values(), default=0.0) < -MARGIN, max(changes.values(), default=0.0) > MARGIN
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
