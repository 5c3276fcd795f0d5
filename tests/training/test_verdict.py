"""What the scores of a run say of it."""

import pytest

from training import verdict


@pytest.mark.parametrize(
    ("changes", "better", "said"),
    [
        ({"mouth_l1": 0.02}, True, "likeness improved"),
        ({"mouth_l1": 0.02, "sync_distance": 0.5}, True, "likeness and the lip-sync improved"),
        ({"mouth_l1": 0.02, "sync_distance": 0.8}, False, "the lip-sync got worse"),
        ({"mouth_l1": 0.0499}, False, "no score has changed"),
        ({"mouth_l1": 0.06}, False, "use the weights you started from"),
    ],
)
def test_a_finetune_that_is_not_better_is_called_so(changes, better, said):
    start = {"mouth_l1": 0.05, "mouth_ssim": 0.8, "sync_distance": 0.6}
    found, sentence = verdict.compare_scores(start, start | changes, {"sync_offset": 0.0, "sync_evidence": 20.0})
    assert found is better
    assert said in sentence


def test_a_refiner_is_judged_by_its_edges_and_by_lip_sync():
    start, truth = {"mouth_l1": 0.05, "gradient_distance": 0.4, "sync_distance": 0.6}, {"sync_evidence": 20.0}
    cases = [({"mouth_l1": 0.06, "gradient_distance": 0.3}, True), ({"mouth_l1": 0.04}, False)]
    cases.append(({"gradient_distance": 0.3, "sync_distance": 0.7}, False))
    assert [verdict.compare_scores(start, start | changes, truth)[0] for changes, _ in cases] == [
        better for _, better in cases
    ]


def test_the_best_mouth_is_weighed_by_likeness_contrast_and_the_sync_of_an_expert_that_knows_the_footage():
    start = {"mouth_l1": 0.05, "contrast": 0.9, "sync_distance": 0.6}
    known, unknown = ({"sync_offset": 0.0, "sync_evidence": evidence} for evidence in (20.0, 1.0))

    def score(truth, **changes):
        return verdict.relative_score(start | changes, start, truth)

    assert score(known) == score(unknown) == 3
    assert score(known, mouth_l1=0.04) < 3
    assert score(known, contrast=0.7) > 3
    assert score(known, contrast=1.3) > 3
    assert score(known, mouth_l1=0.04, sync_distance=0.75) > 3
    assert score(unknown, mouth_l1=0.04, sync_distance=0.75) < 3


def test_scores_of_an_expert_that_fails_on_the_real_footage_count_for_nothing():
    start = {"mouth_l1": 0.05, "sync_distance": 0.6}
    truth = {"sync_offset": 3.0, "sync_confidence": 0.08, "sync_evidence": 9.0}
    better, sentence = verdict.compare_scores(start, start | {"sync_distance": 0.4}, truth)
    assert not better
    assert "no score has changed" in sentence
    assert "the expert puts the real footage at offset +3, so" in sentence
    better, sentence = verdict.compare_scores(start, {"mouth_l1": 0.03, "sync_distance": 0.9}, truth)
    assert better
    unsure = {"sync_offset": 0.0, "sync_confidence": 0.02, "sync_evidence": 1.0}
    sentence = verdict.compare_scores(start, start, unsure)[1]
    assert "likeness alone: the expert cannot tell the real footage from the same shifted in time" in sentence
