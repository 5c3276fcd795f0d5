"""--max_minutes: what counts as time, and how it ends a run."""

import pytest
import torch

from conftest import NARROW_TEXT
from runs import EXPERT, scalars, where
from training import schedule


def test_minutes_of_learning_end_a_training_as_steps_do_and_go_on_counting_after_a_stop(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(schedule, "monotonic", lambda: now[0])
    clock = schedule.Clock(1000, 2)
    now[0] += 90  # clips are opened, loaders start
    assert clock.progress(0) == 0
    with clock.learning():
        now[0] += 30
    assert clock.progress(10) == 0.25
    assert clock.progress(600) == 0.6
    with clock.evaluating():
        now[0] += 70
    assert clock.progress(10) == 0.25
    resumed = schedule.Clock(1000, 2, spent=clock.seconds)
    with resumed.learning():
        now[0] += 30
    assert resumed.progress(10) == 0.5
    with resumed.learning():
        now[0] += 100
    assert resumed.progress(10) == 1
    assert schedule.Clock(10, None).progress(5) == 0.5


def test_evaluations_take_at_most_a_quarter_of_the_time_and_the_last_one_is_always_left(monkeypatch):
    clock = schedule.Clock(1000, 3, evaluations=[15, 15])
    assert clock.evaluation_seconds == 60  # beside three minutes of learning
    assert clock.affords_evaluation()
    clock.evaluations.append(15)
    assert not clock.affords_evaluation()
    assert schedule.Clock(1000, None, evaluations=[900.0] * 9).affords_evaluation()


def test_every_process_follows_the_main_ones_clock(monkeypatch):
    monkeypatch.setattr(schedule.distributed, "broadcast", lambda seconds: 30.0)
    clock = schedule.Clock(1000, 1, spent=45.0)
    assert clock.progress(10) == 0.5


@pytest.mark.slow
def test_the_minutes_of_a_run_go_on_where_they_were_and_its_last_evaluation_is_made_up_for(
    script, preprocessed, expert, tmp_path
):
    run = [*where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_minutes", 1]
    assert script(EXPERT, *run, "--max_steps", 2).code == 0
    path = tmp_path / "checkpoint_step000000002.pth"
    content = torch.load(path, weights_only=True)
    assert 0 < content["seconds"] < 60
    content |= {"seconds": 61.0, "history": content["history"][:1]}  # stopped in the evaluation that the end is due
    torch.save(content, path)
    assert script(EXPERT, *run, "--max_steps", 99).code == 0
    assert sorted(scalars(tmp_path, "eval/loss")) == [0, 2]
    content["history"].append({"step": 2, "losses": {}, "scores": {"loss": 0.5}})
    torch.save(content, path)
    assert "--max_minutes at 1" in script(EXPERT, *run, "--max_steps", 99).error


def test_minutes_must_be_above_zero(script, preprocessed, tmp_path):
    result = script(EXPERT, *where(preprocessed, tmp_path), "--max_minutes", 0)
    assert (result.code, "--max_minutes 0.0: give at least 0.01" in result.error) == (2, True)
