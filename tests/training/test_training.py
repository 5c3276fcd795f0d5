"""The trainings on real preprocessed clips, with narrow networks."""

import errno
import html
import json
import os
import re
import signal
import threading

import pytest
import torch
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

from conftest import NARROW_TEXT
from hparams import hparams
from media.reader import VideoReader, read_image
from metrics.experts import Expert
from runs import EXPERT, GENERATOR, scalars, where
from training import expert as expert_training
from training import trainer
from training.network import TrainableNetwork
from utils import images, weight_files


@pytest.mark.slow
def test_the_experts_loss_falls_and_its_checkpoint_has_the_published_form(preprocessed, tmp_path, script):
    # the published batch-norm momentum needs many steps before evaluation follows, so the training loss is looked at
    values = f"{NARROW_TEXT},syncnet_lr=0.003,syncnet_batch_size=32,width=0.25"
    result = script(
        EXPERT, *where(preprocessed, tmp_path), "--hparams", values, "--max_steps", 40, "--precision", "fp32"
    )
    assert result.code == 0
    assert re.search(r"train: 2 clips, \d+ windows\neval: 1 clips, \d+ windows", result.out)
    losses = scalars(tmp_path, "train/loss")
    assert losses[40] < losses[10] - 0.02
    content = torch.load(tmp_path / "checkpoint_step000000040.pth", weights_only=True)
    assert {"state_dict", "optimizer", "global_step", "global_epoch"} <= content.keys()
    assert content["global_step"] == 40
    assert content["hparams"]["width"] == 0.25


@pytest.mark.slow
def test_the_generators_loss_falls_and_samples_are_drawn(preprocessed, expert, tmp_path, script):
    values = f"{NARROW_TEXT},initial_learning_rate=0.004,eval_interval=20"
    result = script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--hparams", values,
                    "--max_steps", 40)  # fmt: skip
    assert result.code == 0
    scores = scalars(tmp_path, "eval/l1")
    assert sorted(scores) == [0, 20, 40]
    assert scores[40] < 0.8 * scores[0]
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert samples == [f"step{step:09d}{suffix}" for step in (0, 20, 40) for suffix in (".mp4", ".png")]
    drawn = read_image(tmp_path / "samples" / "step000000040.png")
    assert drawn.shape == (4 * images.SIDE, images.LABEL_WIDTH + 8 * images.SIDE, 3)  # windows
    clip = VideoReader(tmp_path / "samples" / "step000000040.mp4")
    assert clip.has_sound
    assert clip.frame_estimate == pytest.approx(50, abs=1)
    summed_up = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summed_up["start"]["step"] == 0
    assert summed_up["best"]["scores"]["mouth_l1"] < summed_up["start"]["scores"]["mouth_l1"]
    assert {"sync_distance", "sync_confidence"} <= summed_up["real_footage"].keys()
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert summed_up["verdict"] in html.unescape(page)
    assert page.count("data:image/jpeg") == 3  # start, best, true
    assert page.count("<svg") >= len(summed_up["best"]["scores"])


def test_an_expert_that_keeps_guessing_is_told_why(preprocessed, tmp_path, script, monkeypatch):
    monkeypatch.setattr(expert_training, "PLATEAU_STEPS", 2)
    monkeypatch.setattr(expert_training, "PLATEAU_LOSS", 0.0)
    result = script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_steps", 2)
    assert "0.1 minutes are little footage" in result.out + result.err
    assert "offset of 3 of 3 clips was never measured" in result.out + result.err


def test_a_run_goes_on_from_its_newest_checkpoint_and_keeps_the_newest_few(preprocessed, tmp_path, script):
    values = f"{NARROW_TEXT},syncnet_checkpoint_interval=2,syncnet_eval_interval=3"
    common = [*where(preprocessed, tmp_path), "--keep", 2]
    assert script(EXPERT, *common, "--hparams", values, "--max_steps", 6).code == 0
    (tmp_path / "checkpoint_step000000001.pth").touch()  # of someone else
    result = script(EXPERT, *common, "--max_steps", 9)
    assert result.code == 0
    assert "goes on from" in result.out
    kept = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert kept == ["best.pth", *(f"checkpoint_step00000000{step}.pth" for step in (1, 8, 9))]
    content = weight_files.read(tmp_path / "checkpoint_step000000009.pth")
    assert [entry["step"] for entry in content["history"]] == [0, 3, 6, 9]
    losses = {entry["step"]: entry["scores"]["loss"] for entry in content["history"] if entry["step"]}
    best = weight_files.read(tmp_path / "best.pth")
    assert losses[best["global_step"]] == min(losses.values())
    assert best["optimizer"] is None
    newest = tmp_path / "checkpoint_step000000009.pth"
    whole = newest.read_bytes()
    newest.write_bytes(whole[:5000])
    assert "delete it to go on from checkpoint_step000000008.pth" in script(EXPERT, *common, "--max_steps", 10).error
    newest.write_bytes(whole)
    (tmp_path / "best.pth").write_bytes((tmp_path / "best.pth").read_bytes()[:5000])
    assert "best.pth: is damaged; delete it" in script(EXPERT, *common, "--max_steps", 10).error
    anew = script(EXPERT, *common, "--checkpoint_path", tmp_path / "best.pth", "--reset_optimizer")
    assert anew.code == 2
    assert "holds a run already" in anew.error


def test_patience_ends_a_run_that_does_not_get_better(preprocessed, tmp_path, script):
    values = f"{NARROW_TEXT},syncnet_lr=1e-12,syncnet_eval_interval=2,syncnet_ema=0"
    common = [*where(preprocessed, tmp_path), "--hparams", values, "--patience", 3]
    result = script(EXPERT, *common, "--max_steps", 1000)
    assert result.code == 0
    content = weight_files.read(max(tmp_path.glob("checkpoint_step*.pth")))
    losses = [entry["scores"]["loss"] for entry in content["history"]]
    assert losses.index(min(losses)) == len(losses) - 4
    assert content["global_step"] == 2 * (len(losses) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("gan", [[], ["--gan"]], ids=["plain", "gan"])
def test_resume_continues_the_same_loss_curve(preprocessed, expert, tmp_path, script, gan, monkeypatch):
    monkeypatch.setattr(trainer, "LOG_EVERY", 4)
    values = f"{NARROW_TEXT},syncnet_wt=0.03,checkpoint_interval=4,ema=0.9,warmup_steps=6"
    common = ["--syncnet_checkpoint_path", expert, "--hparams", values, "--precision", "fp32", *gan]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert script(GENERATOR, *where(preprocessed, whole), *common, "--max_steps", 8).code == 0
    assert script(GENERATOR, *where(preprocessed, halves), *common, "--max_steps", 4).code == 0
    assert script(GENERATOR, *where(preprocessed, halves), *common, "--max_steps", 8).code == 0
    names = ["checkpoint_step000000008.pth"] + (["disc_checkpoint_step000000008.pth"] if gan else [])
    for name in names:
        a, b = (torch.load(folder / name, weights_only=True) for folder in (whole, halves))
        for weights in ["state_dict"] + (["trained_state_dict"] if "trained_state_dict" in a else []):
            assert all(torch.equal(a[weights][key], b[weights][key]) for key in a[weights]), name
    for loss in ["train/l1", "train/sync"] + (["train/disc"] if gan else []):
        assert scalars(whole, loss)[8] == scalars(halves, loss)[8]


@pytest.mark.slow
def test_the_sync_weight_is_switched_on_by_the_evaluation_and_kept_on_resume(preprocessed, expert, tmp_path, script):
    values = f"{NARROW_TEXT},sync_on_below=100"
    common = [*where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert]
    assert script(GENERATOR, *common, "--hparams", values, "--max_steps", 3).code == 0
    first = torch.load(tmp_path / "checkpoint_step000000003.pth", weights_only=True)
    assert first["sync_weight"] == hparams.sync_on_wt
    again = ["--checkpoint_path", tmp_path / "checkpoint_step000000003.pth", "--max_steps", 5]
    assert script(GENERATOR, *common, "--hparams", "sync_on_below=0.001", *again).code == 0
    second = torch.load(tmp_path / "checkpoint_step000000005.pth", weights_only=True)
    assert second["sync_weight"] == hparams.sync_on_wt
    assert second["hparams"]["width"] == 0.125  # the checkpoint's values hold without being repeated


@pytest.mark.slow
def test_finetuning_takes_only_the_weights(preprocessed, expert, generator, tmp_path, script):
    common = ["--syncnet_checkpoint_path", expert, "--checkpoint_path", generator, "--hparams", NARROW_TEXT]
    fresh, resumed = where(preprocessed, tmp_path / "fresh"), where(preprocessed, tmp_path / "resumed")
    assert script(GENERATOR, *fresh, *common, "--reset_optimizer", "--max_steps", 2).code == 0
    assert (tmp_path / "fresh" / "checkpoint_step000000002.pth").exists()
    result = script(GENERATOR, *resumed, *common, "--max_steps", 9)  # generator.pth is at step 7
    assert "no optimizer state" in result.out
    assert (tmp_path / "resumed" / "checkpoint_step000000009.pth").exists()


@pytest.mark.slow
def test_the_expert_is_frozen_while_it_judges(preprocessed, expert, tmp_path, script, monkeypatch):
    kept = []
    real = Expert.load

    def load(path, precision):
        kept.append(real(path, precision))
        return kept[-1]

    monkeypatch.setattr(Expert, "load", load)
    values = f"{NARROW_TEXT},syncnet_wt=0.03"
    assert script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--hparams", values,
                  "--max_steps", 3).code == 0  # fmt: skip
    before, network = weight_files.read(expert)["state_dict"], kept[0].network
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_saves_a_checkpoint_and_says_where_to_go_on(preprocessed, tmp_path, script, monkeypatch):
    real = TrainableNetwork.update

    def interrupts(learner, step, last_step):
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        return real(learner, step, last_step)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(TrainableNetwork, "update", interrupts)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    result = script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_steps", 1000)
    assert result.code == 130
    assert f"stopped at step 5; {trainer.GOES_ON}" in result.out + result.err
    first, saved = sorted(tmp_path.glob("checkpoint_step*.pth"))
    assert torch.load(first, weights_only=True)["global_step"] == 1
    assert torch.load(saved, weights_only=True)["global_step"] == 5
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_wrong_paths_are_refused_before_the_first_step(preprocessed, expert, generator, tmp_path, script):
    data, lists = preprocessed.root, preprocessed.lists
    (tmp_path / "file").touch()
    cases = [
        (["--data_root", tmp_path / "nowhere", "--filelists_dir", lists], "no such folder"),
        (["--data_root", preprocessed.raw, "--filelists_dir", lists], "of its 2 clips are not below"),
        (["--data_root", data, "--filelists_dir", tmp_path], "no such list"),
        (["--data_root", data, "--filelists_dir", lists, "--checkpoint_path", generator], "a lip-sync expert"),
        (["--data_root", data, "--filelists_dir", lists, "--checkpoint_path", tmp_path / "k.pth"], "no such file"),
        (["--data_root", data, "--filelists_dir", lists, "--hparams", "batchsize=3"], "is it batch_size?"),
        (["--data_root", data, "--filelists_dir", lists, "--device", "cuda:77"], "not here"),
    ]
    for arguments, said in cases:
        result = script(EXPERT, *arguments, "--checkpoint_dir", tmp_path / "out")
        assert result.code == 2, arguments
        assert said in result.error
    blocked = script(EXPERT, *where(preprocessed, tmp_path / "file" / "out"))
    assert "cannot write there" in blocked.error
    wrong_expert = script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", generator)
    assert "is a generator (Wav2Lip); a lip-sync expert (SyncNet_color) is needed here" in wrong_expert.error
    at_end = script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--checkpoint_path",
                    generator, "--max_steps", 7)  # fmt: skip
    assert "at step 7" in at_end.error


def test_a_list_naming_clips_that_are_not_there_is_refused(preprocessed, tmp_path, script):
    (tmp_path / "train.txt").write_text("talk/gone\n", encoding="utf-8")
    result = script(EXPERT, "--data_root", preprocessed.root, "--filelists_dir", tmp_path, "--checkpoint_dir", tmp_path)
    assert result.code == 2
    assert "1 of its 1 clips" in result.error
    assert "talk/gone" in result.error


def test_a_log_that_cannot_be_written_is_one_line(preprocessed, tmp_path, script, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "append", full)
    monkeypatch.setattr(LocalFileSystem, "write", full)
    result = script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_steps", 20)
    assert (result.code, f"{tmp_path / 'logs'}: No space left" in result.error) == (2, True)
    assert "Traceback" not in result.err


@pytest.mark.parametrize("resumed", [False, True])
def test_a_learning_rate_that_ruins_the_weights_is_one_line_with_the_last_good_checkpoint(
    preprocessed, expert, tmp_path, script, resumed
):
    start = ["--checkpoint_path", expert] if resumed else []
    values = f"{NARROW_TEXT},syncnet_lr=1e30,syncnet_eval_interval=50,syncnet_checkpoint_interval=50"
    result = script(EXPERT, *where(preprocessed, tmp_path), "--hparams", values, "--max_steps", 30, *start)
    assert result.code == 2
    assert "the weights are no numbers any more" in result.error
    assert "syncnet_lr=1e+30" in result.error
    assert f"start from {expert if resumed else tmp_path / 'best.pth'}, the last good checkpoint" in result.error
    if resumed:
        return
    best = torch.load(tmp_path / "best.pth", weights_only=True)
    assert all(weight.isfinite().all() for weight in best["state_dict"].values())
