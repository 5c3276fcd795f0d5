"""Whole sets of hparams by name, and what they make of a training."""

import itertools

import pytest
import torch

from conftest import NARROW_TEXT
from hparams import hparams
from runs import EXPERT, GENERATOR, scalars, where
from training import schedule
from training.options import TrainingOptions
from training.presets import PRESETS
from training.schedule import Schedule
from utils import weight_files

TINY = "width=0.125,num_workers=0,eval_windows=8,batch_size=1,single_frames=2"


def options(**settings) -> TrainingOptions:
    return TrainingOptions(data_root="a", checkpoint_dir="b", **settings)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_names_values_that_there_are(name):
    changed = hparams.override(PRESETS[name].text())
    assert (changed == hparams) == (name == "published")


def test_hparams_and_flags_go_before_the_preset():
    given = options(preset="finetune", hparams="max_steps=70,ema=0.5", max_steps=9, num_workers=0, patience=7)
    hp = hparams.override(given.hparams_overrides)
    assert (hp.max_steps, hp.ema, hp.num_workers, hp.patience) == (9, 0.5, 0, 7)
    assert hp.freeze_batch_norm


def test_minutes_take_the_place_of_a_presets_steps():
    steps = [
        hparams.override(options(preset="finetune", **budget).hparams_overrides).max_steps
        for budget in ({}, {"max_minutes": 6.0}, {"max_minutes": 6.0, "max_steps": 40})
    ]
    assert steps == [300, 0, 40]


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "again"), [("--max_minutes", 1.2), ("--max_steps", 12)])
def test_windows_begin_after_a_share_of_the_budget_and_stay_when_it_is_raised(
    preprocessed, expert, tmp_path, script, monkeypatch, budget, again
):
    now = itertools.count(step=6)
    monkeypatch.setattr(schedule, "monotonic", lambda: next(now))  # a step takes six seconds
    values = f"{TINY},frames_first=0.5,syncnet_wt=0.03,checkpoint_interval=6"
    run = [*where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--hparams", values]
    result = script(GENERATOR, *run, budget, 1 if budget == "--max_minutes" else 10)
    assert result.code == 0, result.err
    contents = [torch.load(tmp_path / f"checkpoint_step{step:09d}.pth", weights_only=True) for step in (1, 6, 10)]
    assert [content.get("frames_first") for content in contents] == [None, 5, 5]
    assert "sync" in contents[1]["metrics"]["sums"]  # of step 6
    assert script(GENERATOR, *run, budget, again).code == 0
    assert torch.load(tmp_path / "checkpoint_step000000012.pth", weights_only=True)["frames_first"] == 5


def test_early_evaluations_come_at_an_eighth_a_quarter_and_half_of_the_first_interval():
    steps = [step for step in range(1, 1300) if Schedule(4, 400, 100, early=True).evaluates(step)]
    assert steps == [50, 100, 200, 400, 800, 1200]
    assert [step for step in range(1, 900) if Schedule(4, 400, 100).evaluates(step)] == [400, 800]


@pytest.mark.slow
def test_the_finetune_preset_trains_on_frames_then_windows_and_leaves_batch_norms_alone(
    preprocessed, expert, generator, tmp_path, script
):
    result = script(
        GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--checkpoint_path", generator,
        "--reset_optimizer", "--preset", "finetune", "--gan", "--hparams", f"{TINY},frames_first=10,max_steps=20",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "no sync loss" in result.out + result.err  # by an untrained expert
    assert {"disc", "adversarial"} <= torch.load(tmp_path / "checkpoint_step000000020.pth", weights_only=True)[
        "metrics"]["last"].keys()  # fmt: skip
    before, after = (
        weight_files.read(path)["state_dict"] for path in (generator, tmp_path / "checkpoint_step000000020.pth")
    )
    statistics = [name for name in before if name.endswith("running_mean")]
    assert all(torch.allclose(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["output_block.1.weight"], after["output_block.1.weight"])


@pytest.mark.slow
def test_a_run_of_frames_windows_and_patches_goes_on_exactly(preprocessed, expert, tmp_path, script):
    """Windows, and with them the sync loss, come after the second step."""

    def run(folder, steps: int) -> dict:
        values = f"{TINY},frames_first=2,max_steps={steps},checkpoint_interval=3,disc_alone=1,cosine_lr=False"
        values += ",sync_if_known=False"
        flags = ["--syncnet_checkpoint_path", expert, "--preset", "strangers", "--gan", "--precision", "fp32"]
        assert script(GENERATOR, *where(preprocessed, folder), *flags, "--hparams", values).code == 0
        content = torch.load(folder / f"checkpoint_step{steps:09d}.pth", weights_only=True)
        assert "sync" in content["metrics"]["sums"]
        return content

    run(tmp_path / "halves", 3)
    whole, halves = (run(tmp_path / name, 6)["state_dict"] for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.slow
def test_the_expert_trains_on_the_sounds_of_a_clip(preprocessed, tmp_path, script):
    values = (
        f"{NARROW_TEXT},syncnet_pairs=clip,syncnet_clip_windows=4,max_steps=40,sampling=people,augment_sound=0.2,"
        "syncnet_batch_size=16,syncnet_lr=0.003"
    )
    result = script(EXPERT, *where(preprocessed, tmp_path), "--hparams", values)
    assert result.code == 0, result.err
    losses = scalars(tmp_path, "train/loss")
    assert losses[40] < losses[10]
