"""Whether the scores of finetuned weights are better than those of the weights it started from."""

import numpy as np

from metrics.sync_offset import TRUSTED_EVIDENCE

MARGIN = 0.02  # part of a score by which it must change to count; less is noise
LOWER_IS_BETTER = {"mouth_l1": "the mouth's likeness", "sync_distance": "the lip-sync"}


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
