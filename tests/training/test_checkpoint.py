"""A run's folder: what a run starts from, what it takes over, what it keeps, and what it must not overwrite."""

import shutil

import torch

from conftest import EXPERT, GENERATOR, NARROW, NARROW_TEXT, save_network, steps, where
from hparams import HParams
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual
from training import GeneratorOptions
from training.checkpoint import NUMBERED
from training.generator import GeneratorTraining
from utils import weight_files


def test_a_run_resumes_from_its_newest_checkpoint_and_keeps_the_newest_few(expert_run, preprocessed, tmp_path, script):
    run, other = tmp_path / "run", tmp_path / "other"
    values = f"{NARROW_TEXT},syncnet_checkpoint_interval=2,syncnet_eval_interval=3"
    assert expert_run(run, values, "--max_steps", 6, "--keep", 2).code == 0
    (run / NUMBERED.format(1)).touch()  # of someone else
    resume = [EXPERT, *where(preprocessed, run), "--keep", 2]
    assert script(*resume, "--max_steps", 9).code == 0
    assert steps(run) == [1, 8, 9]
    content = weight_files.read(run / NUMBERED.format(9))
    assert [entry["step"] for entry in content["history"]] == [0, 3, 6, 9]
    losses = {entry["step"]: entry["scores"]["loss"] for entry in content["history"] if entry["step"]}
    best = weight_files.read(run / "best.pth")
    assert losses[best["global_step"]] == min(losses.values())
    assert best["optimizer"] is None

    older, theirs = run / NUMBERED.format(8), other / f"disc_{NUMBERED.format(8)}"
    assert f"up to {NUMBERED.format(9)}" in script(*resume, "--checkpoint_path", older, "--max_steps", 10).error
    assert "holds a run already" in script(*resume, "--checkpoint_path", older, "--reset_optimizer").error
    other.mkdir()
    theirs.write_bytes(b"theirs")  # of someone else, numbered as one that the other run has written
    elsewhere = script(EXPERT, *where(preprocessed, other), "--checkpoint_path", older, "--max_steps", 10, "--keep", 1)
    assert (elsewhere.code, theirs.read_bytes(), steps(run)) == (0, b"theirs", [1, 8, 9])

    for name, remedy in ((NUMBERED.format(9), f"resume from {NUMBERED.format(8)}"), ("best.pth", "delete it")):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[:5000])
        error = script(*resume, "--max_steps", 10).error
        assert f"{name}: is damaged" in error
        assert remedy in error
        (run / name).write_bytes(whole)


def test_a_folder_of_another_run_or_of_none_is_left_alone(preprocessed, expert, generator, tmp_path, script):
    own = [*where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--max_steps", 1]
    shutil.copy(generator, tmp_path / "best.pth")
    start = ["--checkpoint_path", tmp_path / "best.pth", "--reset_optimizer", "--hparams", NARROW_TEXT]
    assert "would be overwritten" in script(GENERATOR, *own, *start).error
    assert (tmp_path / "best.pth").read_bytes() == generator.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {"best.pth"}

    (tmp_path / "best.pth").unlink()
    run = [EXPERT, *where(preprocessed, tmp_path), "--max_steps"]
    assert script(*run, 1, "--hparams", NARROW_TEXT).code == 0
    assert "another network (lip-sync expert, here generator)" in script(GENERATOR, *own).error
    (tmp_path / "run.json").write_text("[", encoding="utf-8")
    assert "run.json: is damaged" in script(*run, 2).error
    (tmp_path / "run.json").unlink()  # old versions wrote none
    assert script(*run, 2).code == 0


def test_a_finetune_takes_the_weights_the_network_and_the_mel_and_nothing_else(expert_run, tmp_path):
    made_with = NARROW.override("num_workers=0,syncnet_lr=0.5,warmup_steps=77,syncnet_eval_interval=3")
    content = {"state_dict": SyncNet_color(NARROW.width).state_dict(), "hparams": made_with.to_dict()}
    torch.save(content | {"optimizer": None, "global_step": 7, "global_epoch": 0}, tmp_path / "start.pth")
    values = "num_workers=0,syncnet_batch_size=4,eval_windows=4"
    start = ["--checkpoint_path", tmp_path / "start.pth", "--max_steps"]
    assert expert_run(tmp_path / "fresh", values, *start, 1, "--reset_optimizer").code == 0
    saved = weight_files.read(tmp_path / "fresh" / NUMBERED.format(1))["hparams"]
    names = ("width", "syncnet_lr", "warmup_steps", "syncnet_eval_interval")
    assert [saved[name] for name in names] == [getattr(HParams(width=NARROW.width), name) for name in names]
    resumed = expert_run(tmp_path / "resumed", values, *start, 9)
    assert "no optimizer state" in resumed.out
    assert steps(tmp_path / "resumed")[-1] == 9
    assert "at step 7" in expert_run(tmp_path / "done", NARROW_TEXT, *start, 7).error


def test_the_discriminator_is_the_given_one_or_the_one_saved_beside(preprocessed, expert, tmp_path):
    def at_start(**settings) -> dict[str, torch.Tensor]:
        options = GeneratorOptions(
            data_root=preprocessed.root, filelists_dir=preprocessed.lists, checkpoint_dir=tmp_path / "run",
            syncnet_checkpoint_path=expert, hparams=NARROW_TEXT, device="cpu", gan=True, **settings,
        )  # fmt: skip
        return GeneratorTraining(options).discriminator.network.state_dict()

    def save(path, seed: int) -> dict[str, torch.Tensor]:
        return weight_files.read(save_network(path, Wav2Lip_disc_qual, seed))["state_dict"]

    def same(ours, theirs) -> bool:
        return all(torch.equal(ours[name], theirs[name]) for name in theirs)

    start, given = save_network(tmp_path / "mine.pth", Wav2Lip), tmp_path / "given.pth"
    beside, states = save(tmp_path / "disc_mine.pth", 1), save(given, 2)
    assert same(at_start(checkpoint_path=start), beside)
    assert same(at_start(checkpoint_path=start, disc_checkpoint_path=given), states)
    (tmp_path / "run").mkdir()
    save_network(tmp_path / "run" / NUMBERED.format(7), Wav2Lip)
    own = save(tmp_path / "run" / f"disc_{NUMBERED.format(7)}", 3)
    assert same(at_start(disc_checkpoint_path=given), own)  # a resumed run keeps its own


def test_wrong_input_is_refused_before_the_first_step(preprocessed, expert, generator, tmp_path, script):
    data, lists = preprocessed.root, preprocessed.lists
    (tmp_path / "file").touch()

    uneven = NARROW_TEXT.replace("batch_size=8", "batch_size=9") + ",accumulate=2"
    cases = [
        (["--data_root", tmp_path / "nowhere"], "no such folder"),
        (["--filelists_dir", tmp_path], "no such list"),
        (["--checkpoint_path", generator], "a lip-sync expert"),
        (["--hparams", uneven], "--hparams syncnet_batch_size=9"),
        (["--device", "cuda:77"], "not here"),
        (["--checkpoint_dir", tmp_path / "file" / "out"], "cannot write there"),
    ]
    own = ["--data_root", data, "--filelists_dir", lists, "--checkpoint_dir", tmp_path / "out"]
    for flags, message in cases:
        result = script(EXPERT, *own, *flags)
        assert result.code == 2, flags
        assert message in result.error
    wrong = script(GENERATOR, *own, "--syncnet_checkpoint_path", generator)
    assert "is a generator (Wav2Lip); a lip-sync expert" in wrong.error
