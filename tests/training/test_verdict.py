"""What the scores of a run say of it."""

import pytest

from training import verdict

START = {"mouth_l1": 0.05, "sync_distance": 0.6, "contrast": 0.9}
REFINER = {"mouth_l1": 0.05, "gradient_distance": 0.4, "sync_distance": 0.6}
KNOWN = {"sync_offset": 0.0, "sync_evidence": 20.0}
SHIFTED, UNSURE = KNOWN | {"sync_offset": 3.0}, KNOWN | {"sync_evidence": 1.0}


@pytest.mark.parametrize(
    ("start", "changes", "footage", "better"),
    [
        (START, {"mouth_l1": 0.02}, KNOWN, True),
        (START, {"mouth_l1": 0.02, "sync_distance": 0.5}, KNOWN, True),
        (START, {"mouth_l1": 0.02, "sync_distance": 0.8}, KNOWN, False),
        (START, {"mouth_l1": 0.0499}, KNOWN, False),
        (START, {"mouth_l1": 0.06}, KNOWN, False),
        (REFINER, {"mouth_l1": 0.06, "gradient_distance": 0.3}, KNOWN, True),
        (REFINER, {"mouth_l1": 0.04}, KNOWN, False),
        (REFINER, {"gradient_distance": 0.3, "sync_distance": 0.7}, KNOWN, False),
        (START, {"sync_distance": 0.4}, SHIFTED, False),  # an expert that fails on the real footage counts for nothing
        (START, {"mouth_l1": 0.03, "sync_distance": 0.9}, UNSURE, True),
    ],
)
def test_better_is_what_improved_without_a_loss(start, changes, footage, better):
    found, sentence = verdict.compare_scores(start, start | changes, footage)
    assert found is better
    assert sentence.startswith("better" if better else "not better")
    assert ("offset +3" in sentence, "cannot tell" in sentence) == (footage is SHIFTED, footage is UNSURE)
    assert ("sync distance" in sentence) == (footage is KNOWN)


def test_the_best_mouth_is_weighed_by_likeness_contrast_and_the_sync_of_a_reliable_expert():
    def score(footage, **changes):
        return verdict.relative_score(START | changes, START, footage)

    assert score(KNOWN) == score(UNSURE) == 3
    assert score(KNOWN, mouth_l1=0.04) < 3
    assert all(score(KNOWN, contrast=value) > 3 for value in (0.7, 1.3))
    assert score(KNOWN, mouth_l1=0.04, sync_distance=0.75) > 3
    assert score(UNSURE, mouth_l1=0.04, sync_distance=0.75) < 3


def entry(step: int, **scores) -> dict:
    return {"step": step, "losses": {}, "scores": START | scores}


def test_a_run_is_judged_by_its_best_and_where_that_is_the_start_by_its_last_evaluation():
    entries = [entry(0), entry(50, mouth_l1=0.06), entry(100, mouth_l1=0.077, contrast=0.7)]
    better, sentence = verdict.of_run(entries, entries[0], KNOWN)
    assert better is False
    assert all(part in sentence for part in ("step 100", "mouth L1 +54%", "0.9 → 0.7", "lower the learning rate"))
    assert "train longer" in verdict.of_run([entry(0), entry(9, contrast=0.8)], entries[0], KNOWN)[1]
    assert verdict.of_run(entries[:1], entries[0], KNOWN)[0] is None
    assert verdict.of_run([*entries, entry(200, mouth_l1=0.04)], entry(200, mouth_l1=0.04), KNOWN)[0] is True
    (remark,) = verdict.remarks([entry(0), entry(50, mouth_l1=0.056, sync_distance=0.5)], KNOWN)
    assert all(part in remark for part in ("step 50", "worse", "mouth L1 +12%", "sync distance -17%"))
    assert verdict.remarks([entry(0), entry(50, mouth_l1=0.0505)], KNOWN) == []
    assert verdict.remarks([entry(50), entry(100, mouth_l1=0.09)], KNOWN) == []  # its start is not known
