"""What the scores of a run say of it."""

import pytest

from training import history
from training.history import History

START = {"mouth_l1": 0.05, "sync_distance": 0.6, "contrast": 0.9}
REFINER = {"mouth_l1": 0.05, "gradient_distance": 0.4, "sync_distance": 0.6}
KNOWN = {"sync_offset": 0.0, "sync_evidence": 20.0}
SHIFTED, UNSURE = KNOWN | {"sync_offset": 3.0}, KNOWN | {"sync_evidence": 1.0}


@pytest.mark.parametrize(
    ("start", "changes", "footage", "better"),
    [
        (START, {"mouth_l1": 0.02}, KNOWN, True),
        (START, {"mouth_l1": 0.02, "sync_distance": 0.8}, KNOWN, False),
        (START, {"mouth_l1": 0.0499}, KNOWN, False),
        (REFINER, {"mouth_l1": 0.06, "gradient_distance": 0.3}, KNOWN, True),
        (REFINER, {"mouth_l1": 0.04}, KNOWN, False),
        (REFINER, {"gradient_distance": 0.3, "sync_distance": 0.7}, KNOWN, False),
        (START, {"sync_distance": 0.4}, SHIFTED, False),  # an expert that fails on the real footage counts for nothing
        (START, {"mouth_l1": 0.03, "sync_distance": 0.9}, UNSURE, True),
    ],
)
def test_better_is_what_improved_without_a_loss(start, changes, footage, better):
    found, sentence = history.compare_scores(start, start | changes, footage)
    assert found is better
    assert sentence.startswith("better" if better else "not better")


def test_the_best_mouth_is_weighed_by_likeness_contrast_and_the_sync_of_a_reliable_expert():
    def score(footage, **changes):
        return history.relative_score(START | changes, START, footage)

    assert score(KNOWN) == score(UNSURE) == 3
    assert score(KNOWN, mouth_l1=0.04) < 3
    assert all(score(KNOWN, contrast=value) > 3 for value in (0.7, 1.3))
    assert score(KNOWN, mouth_l1=0.04, sync_distance=0.75) > 3
    assert score(UNSURE, mouth_l1=0.04, sync_distance=0.75) < 3


def entry(step: int, **scores) -> dict:
    return {"step": step, "losses": {}, "scores": START | scores}


def run_of(*entries: dict, best_step: int = 0) -> History:
    return History({"history": list(entries), "best_step": best_step}, None)


def test_a_run_is_judged_by_its_best_and_where_that_is_the_start_by_its_last_evaluation():
    entries = [entry(0), entry(50, mouth_l1=0.06), entry(100, mouth_l1=0.077, contrast=0.7)]
    better, sentence = run_of(*entries).verdict(KNOWN)
    assert better is False
    assert all(part in sentence for part in ("step 100", "mouth L1 +54%"))
    assert run_of(entry(0)).verdict(KNOWN)[0] is None
    assert run_of(*entries, entry(200, mouth_l1=0.04), best_step=200).verdict(KNOWN)[0] is True
    (remark,) = run_of(entry(0), entry(50, mouth_l1=0.056, sync_distance=0.5)).remarks(KNOWN)
    assert all(part in remark for part in ("step 50", "mouth L1 +12%", "sync distance -17%"))
    assert run_of(entry(0), entry(50, mouth_l1=0.0505)).remarks(KNOWN) == []
    assert run_of(entry(50), entry(100, mouth_l1=0.09)).remarks(KNOWN) == []  # its start is not known
