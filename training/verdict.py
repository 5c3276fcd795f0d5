"""What the scores of a run say: whether finetuned weights are better than those that it started from."""

import numpy as np

from metrics.sync_offset import TRUSTED_EVIDENCE

MARGIN = 0.02  # part of a score by which it must change to count; less is noise
LOWER_IS_BETTER = {
    "mouth_l1": "the mouth's likeness",
    "gradient_distance": "the mouth's edges",
    "sync_distance": "the lip-sync",
}
ALSO_CHOSEN_BY = {"contrast": "contrast"}  # the best weights
NAMES = {"mouth_l1": "mouth L1", "gradient_distance": "gradient distance", "sync_distance": "sync distance"}


def of_run(entries: list[dict], best: dict, truth: dict[str, float]) -> tuple[bool | None, str]:
    """Whether a run has made anything better, None where that is not known, and a sentence. entries: of its history;
    best: one of them; truth: the sync scores of the real footage."""
    start, last = entries[0], entries[-1]
    if start["step"] != 0:
        return None, "its start is not known"
    if last is start:
        return None, "only the start has been evaluated so far"
    if best is not start:
        return compare_scores(start["scores"], best["scores"], truth)
    changes = _changes(start["scores"], last["scores"], truth)
    said = [f"{NAMES[name]} {part:+.0%}" for name, part in changes.items()]
    said += [
        f"{words} {start['scores'][name]:.2g} → {last['scores'][name]:.2g}"
        for name, words in ALSO_CHOSEN_BY.items()
        if name in last["scores"]
    ]
    worse = changes.get(_picture_score(start["scores"]), 0.0) > MARGIN
    advice = "lower the learning rate (--hparams), or add footage" if worse else "train longer, or add footage"
    return False, (
        f"no evaluation was better than the start; at the last, step {last['step']}, {', '.join(said)}; to get better "
        f"weights {advice}"
    )


def remarks(entries: list[dict], truth: dict[str, float]) -> list[str]:
    """In which scores that count the last evaluation is worse than the start, if in any."""
    start, last = entries[0], entries[-1]
    changes = _changes(start["scores"], last["scores"], truth) if start["step"] == 0 else {}
    if max(changes.values(), default=0.0) <= MARGIN:
        return []
    lost, gained = (
        ", ".join(f"{NAMES[name]} {part:+.0%}" for name, part in changes.items() if sign * part > MARGIN)
        for sign in (1, -1)
    )
    return [f"step {last['step']}: worse than the start: {lost}" + (f" (better: {gained})" if gained else "")]


def compare_scores(start: dict[str, float], best: dict[str, float], truth: dict[str, float]) -> tuple[bool, str]:
    """Whether the best scores beat those of the start, and a sentence: better means that likeness, or a refiner's
    edges, or lip-sync has gained more than MARGIN and neither has lost as much. Scores of an expert that does not find
    the real footage (its scores are `truth`) in sync count for nothing."""
    better, verdict = _verdict(_changes(start, best, truth))
    if knows_footage(truth):
        return better, verdict
    if truth.get("sync_evidence", np.inf) < TRUSTED_EVIDENCE:
        why = "the expert cannot tell the real footage from the same shifted in time"
    else:
        why = f"the expert puts the real footage at offset {truth['sync_offset']:+.0f}"
    judged = LOWER_IS_BETTER[_picture_score(start)]
    return better, f"{verdict}; judged by {judged} alone: {why}, so that its scores prove nothing"


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


def _changes(start: dict[str, float], scores: dict[str, float], truth: dict[str, float]) -> dict[str, float]:
    """By how much of the start's the scores that count have changed: more is worse."""
    counted = [_picture_score(start), *(["sync_distance"] if knows_footage(truth) else [])]
    return {name: scores[name] / start[name] - 1 for name in counted if name in scores and name in start}


def _picture_score(scores: dict[str, float]) -> str:
    """The score of the pictures that counts. A refiner is for sharpness, which L1 alone would give up."""
    return "gradient_distance" if "gradient_distance" in scores else "mouth_l1"


def _verdict(change: dict[str, float]) -> tuple[bool, str]:
    gained = [LOWER_IS_BETTER[name] for name, part in change.items() if part < -MARGIN]
    lost = [LOWER_IS_BETTER[name] for name, part in change.items() if part > MARGIN]
    if gained and not lost:
        return True, f"better than the start: {' and '.join(gained)} improved"
    if gained:
        return False, f"not better than the start: {gained[0]} improved, but {lost[0]} got worse"
    if lost:
        return False, f"not better than the start: {' and '.join(lost)} got worse; use the weights you started from"
    return False, "not better than the start: no score has changed by more than noise; train longer"
