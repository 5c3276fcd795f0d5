"""What a run says of itself on the way and at its end, and what it leaves where nothing was better than its start."""

import shlex
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from conftest import NARROW_TEXT
from runs import GENERATOR, where
from training import verdict
from training.generator import GeneratorTraining
from training.refiner import RefinerTraining
from training.run_directory import History
from utils import weight_files
from utils.cli import command

KNOWN = {"sync_offset": 0.0, "sync_evidence": 20.0}
REFINER_VALUES = (
    "refiner_size=192,refiner_width=0.125,refiner_references=2,refiner_bank=6,refiner_batch_size=2,num_workers=0"
)


def entry(step: int, **scores) -> dict:
    return {"step": step, "losses": {}, "scores": {"mouth_l1": 0.05, "sync_distance": 0.6, "contrast": 0.9} | scores}


def test_where_the_start_is_the_best_the_verdict_says_what_the_last_evaluation_did():
    entries = [entry(0), entry(50, mouth_l1=0.06), entry(100, mouth_l1=0.077, contrast=0.7)]
    better, sentence = verdict.of_run(entries, entries[0], KNOWN)
    assert better is False
    assert "at the last, step 100, mouth L1 +54%, sync distance +0%, contrast 0.9 → 0.7" in sentence
    assert "lower the learning rate" in sentence
    assert "train longer" in verdict.of_run([entry(0), entry(9, contrast=0.8)], entries[0], KNOWN)[1]
    assert verdict.of_run(entries[:1], entries[0], KNOWN)[0] is None
    assert verdict.of_run([*entries, entry(200, mouth_l1=0.04)], entry(200, mouth_l1=0.04), KNOWN)[0] is True


def test_an_evaluation_worse_than_the_start_is_called_so_at_once():
    assert verdict.remarks([entry(0), entry(50, mouth_l1=0.056, sync_distance=0.5)], KNOWN) == [
        "step 50: worse than the start: mouth L1 +12% (better: sync distance -17%)"
    ]
    assert verdict.remarks([entry(0), entry(50, mouth_l1=0.0505)], KNOWN) == []
    assert verdict.remarks([entry(50), entry(100, mouth_l1=0.09)], KNOWN) == []  # its start is not known


@pytest.mark.skipif(sys.platform == "win32", reason="cmd.exe and PowerShell quote otherwise")
def test_commands_can_be_copied_whatever_the_names():
    text = command("inference.py", checkpoint_path="Zoë's runs/best.pth", refine=None, outfile='a "b".mp4')
    assert shlex.split(text) == [
        "python", "inference.py", "--checkpoint_path", "Zoë's runs/best.pth", "--outfile", 'a "b".mp4'
    ]  # fmt: skip


@pytest.fixture
def finetune(preprocessed, generator, expert, script):
    """finetune(folder, *flags): a run of the generator from weights that are there."""

    def call(folder, *flags):
        start = ["--syncnet_checkpoint_path", expert, "--checkpoint_path", generator, "--reset_optimizer"]
        return script(GENERATOR, *where(preprocessed, folder), *start, "--hparams", NARROW_TEXT, *flags)

    return call


def worse_and_worse(monkeypatch, training) -> None:
    real = training.evaluate

    def evaluate(self, step, *rest):
        return {name: value * (1 + step) for name, value in real(self, step, *rest).items()}

    monkeypatch.setattr(training, "evaluate", evaluate)


@pytest.mark.slow
def test_a_finetune_that_never_beats_its_start_leaves_the_starts_weights_and_the_commands(
    finetune, generator, tmp_path, monkeypatch
):
    worse_and_worse(monkeypatch, GeneratorTraining)
    folder = tmp_path / "my run"
    result = finetune(folder, "--max_steps", 2)
    assert result.code == 0, result.err
    best, start = (weight_files.read(path) for path in (folder / "best.pth", generator))
    assert best["global_step"] == 0
    assert all(torch.equal(best["state_dict"][name], start["state_dict"][name]) for name in start["state_dict"])
    assert "step 2: worse than the start: mouth L1 +" in result.out + result.err
    assert "best.pth: the weights that the run started from, since no evaluation was better" in result.out
    assert command("inference.py", checkpoint_path=folder / "best.pth", face="talk.mp4") in result.out
    assert f"{folder / 'samples' / 'step000000002.mp4'}" in result.out


@pytest.mark.parametrize("started_from", ["start.pth", ""])
def test_only_weights_that_are_called_better_are_kept_as_the_best(started_from):
    training = SimpleNamespace(started_from=started_from, footage_scores=KNOWN)

    def history(content, lost):
        better = partial(GeneratorTraining.better, training)
        return History(content, lambda scores: scores["mouth_l1"] + scores["sync_distance"], better, True, lost)

    run = history({}, False)
    kept = [
        run.add(entry["step"], {}, entry["scores"]) for entry in (entry(0), entry(1, mouth_l1=0.052, sync_distance=0.5))
    ]
    assert kept == [True, not started_from]  # lip-sync improved, but likeness got worse
    assert run.add(2, {}, entry(2, mouth_l1=0.04, sync_distance=0.45)["scores"])
    assert not run.add(3, {}, entry(3, mouth_l1=0.045, sync_distance=0.55)["scores"])
    content = {"history": run.entries, "best_step": run.best_step}
    assert history(content, False).best()["step"] == 2
    lost = history(content, True)
    assert lost.best()["step"] == 0
    assert lost.add(4, {}, entry(4, mouth_l1=0.045, sync_distance=0.55)["scores"])


@pytest.mark.slow
def test_with_minutes_as_much_is_evaluated_as_there_is_time_for_and_as_much_again_after_a_resume(
    finetune, preprocessed, expert, tmp_path, script, monkeypatch
):
    evaluated, real = [], GeneratorTraining.evaluate
    monkeypatch.setattr(GeneratorTraining, "seconds_of_evaluation", lambda *_: 30.0)
    monkeypatch.setattr(
        GeneratorTraining, "evaluate", lambda *given: evaluated.append(len(given[2])) or real(*given)
    )  # fmt: skip
    result = finetune(tmp_path, "--max_minutes", 1, "--max_steps", 1)
    assert result.code == 0, result.err
    assert "22% of what is kept aside is evaluated: all of it would take 30 s" in result.out + result.err
    assert "hardly anything is learnt" in result.out + result.err
    again = script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--max_minutes", 1,
                   "--max_steps", 2)  # fmt: skip
    assert again.code == 0, again.err
    assert evaluated == [1, 1, 1]  # of two


@pytest.mark.slow
def test_a_refiner_that_never_beats_its_start_says_so_and_exits_with_1(
    preprocessed, generator, expert, tmp_path, script, monkeypatch
):
    worse_and_worse(monkeypatch, RefinerTraining)
    result = script("refiner_train", *where(preprocessed, tmp_path), "--generator_path", generator,
                    "--syncnet_checkpoint_path", expert, "--hparams", REFINER_VALUES, "--max_steps", 2)  # fmt: skip
    assert result.code == 1, result.out
    assert "person.safetensors was not written" in result.out
    assert (tmp_path / "best.pth").exists()
    assert not (tmp_path / "person.safetensors").exists()
