"""The trainings on preprocessed clips, with narrow networks: they learn, resume exactly, and end. finetune.py."""

import itertools
import json
import os
import re
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch

from conftest import GENERATOR, NARROW_TEXT, scalars, steps, where
from dubbing import Dubber
from finetune import run_stage
from hparams import hparams
from media.reader import VideoReader
from metrics import generators
from training import PRESETS, TrainingOptions, as_hparams, loop
from training import expert as expert_training
from training import generator as generator_training
from training.checkpoint import NUMBERED
from training.expert import ExpertTraining
from training.generator import GeneratorTraining
from training.loop import Loop
from training.network import TrainableNetwork
from utils import weight_files
from utils.cli import command, quoted
from utils.errors import InputError
from utils.files import exclusive_lock

TINY = "width=0.125,num_workers=0,eval_windows=4,batch_size=1,single_frames=2"
POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
pytestmark = pytest.mark.usefixtures("short_evaluations")


@pytest.fixture
def generator_run(preprocessed, script, expert):
    """generator_run(folder, values, *flags): a run of the generator's training with these hparams."""
    return lambda folder, values, *flags: script(
        GENERATOR, *where(preprocessed, folder), "--syncnet_checkpoint_path", expert, "--hparams", values, *flags
    )


def checkpoint_of(folder, step: int) -> dict:
    return torch.load(folder / NUMBERED.format(step), weights_only=True)


@pytest.mark.slow
def test_the_experts_loss_falls_and_its_checkpoint_has_the_published_form(expert_run, tmp_path, monkeypatch):
    monkeypatch.setattr(expert_training, "PLATEAU_STEPS", 2)
    monkeypatch.setattr(expert_training, "PLATEAU_LOSS", 0.0)
    # the published batch-norm momentum needs many steps before evaluation follows, so the training loss is compared
    values = f"{NARROW_TEXT},syncnet_lr=0.003,syncnet_batch_size=16"
    result = expert_run(tmp_path, values, "--max_steps", 40, "--precision", "fp32")
    assert result.code == 0
    assert re.search(r"train: 2 clips, \d+ windows\neval: 1 clips, \d+ windows", result.out)
    assert "0.1 minutes of footage" in result.out + result.err  # why the expert may be guessing
    losses = scalars(tmp_path, "train/loss")
    assert losses[40] < losses[10]
    content = checkpoint_of(tmp_path, 40)
    assert {"state_dict", "optimizer", "global_step", "global_epoch"} <= content.keys()
    assert (content["global_step"], content["hparams"]["width"]) == (40, 0.125)


@pytest.mark.slow
def test_the_generators_loss_falls_with_samples_and_a_summary(generator_run, expert, script, tmp_path, monkeypatch):
    loaded, real = [], generator_training.load_network
    monkeypatch.setattr(generator_training, "load_network", lambda *given: loaded.append(real(*given)) or loaded[-1])
    monkeypatch.setattr(generator_training, "LEAST_MOTION", 100.0)
    values = f"{TINY},initial_learning_rate=0.004,eval_interval=20,sync_on_below=100"
    result = generator_run(tmp_path, values, "--max_steps", 40)
    assert result.code == 0, result.err
    scores = scalars(tmp_path, "eval/l1")
    assert sorted(scores) == [0, 20, 40]
    assert scores[40] < 0.8 * scores[0]
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert samples == [f"step{step:09d}{suffix}" for step in (0, 20, 40) for suffix in (".mp4", ".png")]
    assert VideoReader(tmp_path / "samples" / "step000000040.mp4").has_sound
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["start"]["step"] == 0
    assert summary["best"]["scores"]["mouth_l1"] < summary["start"]["scores"]["mouth_l1"]
    assert {"sync_distance", "sync_confidence"} <= summary["real_footage"].keys()
    assert (tmp_path / "summary.html").exists()
    best, lively = tmp_path / "best.pth", tmp_path / "lively.safetensors"
    amplify = quoted(["python", "weights.py", "amplify", str(best), str(lively)])
    assert f"weights that move them more:\n{amplify}" in result.out
    assert script("weights", "amplify", best, lively).code == 0

    before, network = weight_files.read(expert)["state_dict"], loaded[0][0]  # frozen while it judges
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    # switched on by the evaluation, and kept on resume; the checkpoint's values hold without being repeated
    assert checkpoint_of(tmp_path, 40)["sync_weight"] == hparams.sync_on_wt
    assert generator_run(tmp_path, "sync_on_below=0.001", "--max_steps", 41).code == 0
    content = checkpoint_of(tmp_path, 41)
    assert (content["sync_weight"], content["hparams"]["width"]) == (hparams.sync_on_wt, 0.125)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ("syncnet_wt=0.03,checkpoint_interval=2,ema=0.9,warmup_steps=3", []),
        # single frames, then windows and with them the sync loss; the patch discriminator alone at first
        (
            "frames_first=1,checkpoint_interval=2,disc_alone=1,cosine_lr=False,sync_if_known=False",
            ["--preset", "strangers"],
        ),
    ],
    ids=["published", "strangers"],
)
def test_a_resumed_run_is_the_same_to_the_bit(generator_run, tmp_path, monkeypatch, values, flags):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    one, two = tmp_path / "whole", tmp_path / "halves"
    for folder, last in ((one, 4), (two, 2), (two, 4)):
        more = [*flags, "--gan", "--precision", "fp32", "--max_steps", last]
        result = generator_run(folder, f"{TINY},{values}", *more)
        assert result.code == 0, result.err
    for name in (NUMBERED.format(4), f"disc_{NUMBERED.format(4)}"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (one, two))
        for weights in {"state_dict", "trained_state_dict"} & a.keys():
            assert all(torch.equal(a[weights][key], b[weights][key]) for key in a[weights]), name
    for loss in ("train/l1", "train/sync", "train/disc"):
        assert scalars(one, loss)[4] == scalars(two, loss)[4]


@pytest.mark.slow
def test_a_finetune_that_never_beats_its_start_keeps_it_and_ends_by_patience(
    generator_run, generator, tmp_path, monkeypatch
):
    real = GeneratorTraining.evaluate

    def evaluate(self, step, *rest):
        return {name: value * (1 + step) for name, value in real(self, step, *rest).items()}

    monkeypatch.setattr(GeneratorTraining, "evaluate", evaluate)
    folder = tmp_path / "my run"
    start = ["--checkpoint_path", generator, "--reset_optimizer", "--patience", 2]
    result = generator_run(folder, f"{TINY},eval_interval=1", *start, "--max_steps", 1000)
    assert result.code == 0, result.err
    assert steps(folder) == [1, 2]
    best, before = (weight_files.read(path) for path in (folder / "best.pth", generator))
    assert best["global_step"] == 0
    assert all(torch.equal(best["state_dict"][name], before["state_dict"][name]) for name in before["state_dict"])
    assert command("inference.py", checkpoint_path=folder / "best.pth", face="talk.mp4") in result.out
    assert f"{folder / 'samples'}: faces" in result.out


def test_presets_are_changed_by_hparams_and_flags_and_their_steps_replaced_by_minutes():
    assert [
        as_hparams(PRESETS[name]) for name in PRESETS if hparams.override(as_hparams(PRESETS[name])) == hparams
    ] == [as_hparams(PRESETS["published"])]

    def values(**settings):
        options = TrainingOptions(data_root="a", checkpoint_dir="b", preset="finetune", **settings)
        return hparams.override(options.hparams_overrides)

    hp = values(hparams="max_steps=70,ema=0.5", max_steps=9, num_workers=0, patience=7)
    assert (hp.max_steps, hp.ema, hp.num_workers, hp.patience, hp.freeze_batch_norm) == (9, 0.5, 0, 7, True)
    early = SimpleNamespace(hp=hp, setting=lambda name: getattr(hp, name))
    planned = [step for step in range(1, 1300) if ExpertTraining.evaluates(early, step)]
    assert planned == [50, 100, 200, 400, 800, 1200]
    budgets = ({}, {"max_minutes": 6.0}, {"max_minutes": 6.0, "max_steps": 40})
    assert [values(**budget).max_steps for budget in budgets] == [300, 0, 40]


@pytest.mark.slow
def test_the_finetune_preset_trains_on_frames_then_windows_and_leaves_batch_norms_alone(
    generator_run, generator, tmp_path, monkeypatch
):
    monkeypatch.setattr(generators, "FRAMES", 50)  # enough to know that the untrained expert guesses
    result = generator_run(
        tmp_path, f"{TINY},frames_first=2,max_steps=4", "--checkpoint_path", generator,
        "--reset_optimizer", "--preset", "finetune", "--gan",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "no sync loss" in result.out + result.err
    before, after = (weight_files.read(path)["state_dict"] for path in (generator, tmp_path / NUMBERED.format(4)))
    assert all(torch.allclose(before[name], after[name]) for name in before if name.endswith("running_mean"))
    assert not torch.equal(before["output_block.1.weight"], after["output_block.1.weight"])


@pytest.mark.slow
def test_windows_begin_after_a_share_of_the_budget_and_stay_when_it_is_raised(generator_run, tmp_path, monkeypatch):
    now = itertools.count(step=1.5)  # a step reads the time four times, and so takes 4.5 seconds
    monkeypatch.setattr(loop, "monotonic", lambda: next(now))
    values = f"{TINY},frames_first=0.5,syncnet_wt=0.03,checkpoint_interval=1"
    result = generator_run(tmp_path, values, "--max_minutes", 1, "--keep", 99)
    assert result.code == 0, result.err
    contents = [checkpoint_of(tmp_path, step) for step in (1, 8)]
    assert [content.get("frames_first") for content in contents] == [None, 7]
    assert "sync" in contents[1]["metrics"]["sums"]
    assert generator_run(tmp_path, values, "--max_minutes", 1.2).code == 0
    assert checkpoint_of(tmp_path, steps(tmp_path)[-1])["frames_first"] == 7


@POSIX
def test_ctrl_c_saves_a_checkpoint_after_the_step(expert_run, tmp_path, monkeypatch):
    real = TrainableNetwork.update

    def interrupted(network, step, progress):
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        return real(network, step, progress)

    monkeypatch.setattr(TrainableNetwork, "update", interrupted)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    values = f"{NARROW_TEXT},syncnet_pairs=clip,syncnet_clip_windows=4,sampling=people,augment_sound=0.2"
    result = expert_run(tmp_path, values, "--max_steps", 1000)
    assert (result.code, steps(tmp_path)) == (130, [1, 5])
    assert "stopped at step 5; the same command" in result.out + result.err
    assert checkpoint_of(tmp_path, 5)["global_step"] == 5
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_a_learning_rate_that_ruins_the_weights_is_one_line_with_the_last_good_checkpoint(expert_run, tmp_path):
    values = f"{NARROW_TEXT},syncnet_lr=1e30,syncnet_eval_interval=50,syncnet_checkpoint_interval=50"
    result = expert_run(tmp_path, values, "--max_steps", 30)
    assert result.code == 2
    good = tmp_path / "best.pth"
    assert all(part in result.error for part in ("NaN or infinite", "syncnet_lr=1e+30", f"start from {good}"))
    assert all(weight.isfinite().all() for weight in weight_files.read(good)["state_dict"].values())


VALUES = f"{NARROW_TEXT},max_steps=1,frames_first=1,batch_size=1,single_frames=2,eval_windows=8"


@pytest.fixture
def finetune(preprocessed, generator, expert, tmp_path, script, no_workers, short_evaluations):
    shutil.copytree(preprocessed.root, tmp_path / "my person" / "preprocessed")  # clips that are finished
    flags = ["--videos", preprocessed.raw, "--outdir", tmp_path / "my person", "--checkpoint_path", generator,
             "--syncnet_checkpoint_path", expert, "--hparams", VALUES, "--device", "cpu"]  # fmt: skip
    return lambda *more: script("finetune", *flags, "--seconds", 0.2, *more)


def read(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.long
def test_a_folder_of_videos_becomes_a_comparison_and_the_same_command_again_trains_and_dubs_nothing(
    finetune, generator, tmp_path, monkeypatch
):
    result = finetune()
    assert result.code in (0, 1), result.err  # so few steps need not make anything better
    assert "too little for a good finetune of one person" in result.out
    outdir = tmp_path / "my person"
    page = (outdir / "index.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("dubs/side_by_side.mp4", "before", "after", "inference.py"))
    dubs = [read(outdir / "dubs" / f"{name}.mp4.json") for name in ("before", "after")]
    generator = read(outdir / "generator" / "stage.json")["result"]
    used = dubs[1]["generator"]["file"]
    assert used == (str(outdir / "generator" / "best.pth") if generator["better"] else dubs[0]["generator"]["file"])

    monkeypatch.setattr(Loop, "run", None)
    monkeypatch.setattr(Dubber, "dub", None)
    again = finetune()
    assert again.code == result.code, again.err
    assert again.out.count("\nfinished before") == 2


def test_what_cannot_be_dubbed_at_the_end_is_noticed_at_the_start(finetune, preprocessed, tmp_path):
    assert "--face and --audio: give both" in finetune("--face", preprocessed.raw).error
    assert "none.mp4: no such file" in finetune("--face", "none.mp4", "--audio", "none.wav").error
    assert "--videos nowhere: no such folder" in finetune("--videos", "nowhere").error
    assert "lies in --videos" in finetune("--outdir", preprocessed.raw / "out").error
    with exclusive_lock(tmp_path / "my person", "--outdir"):
        assert "in use by" in finetune().error
    assert not (tmp_path / "my person" / "generator").exists()


def test_a_stage_is_done_once_goes_on_when_cut_off_and_begins_anew_with_other_inputs(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder.name)
        if len(calls) == 1:
            raise InputError("cut off")
        return {"made": len(calls)}

    folder = tmp_path / "learn"
    with pytest.raises(InputError):
        run_stage(folder, {"clips": "a"}, 1, work)
    first = run_stage(folder, {"clips": "a"}, 1, work)
    assert run_stage(folder, {"clips": "a"}, 0.5, work) == first
    assert calls == ["learn", "learn"]
    longer = run_stage(folder, {"clips": "a"}, 2, work)
    other = run_stage(folder, {"clips": "b"}, 1, work)
    assert (longer.folder.name, longer.result, other.folder.name) == ("learn", {"made": 3}, "learn_2")
    assert longer.seconds >= first.seconds
