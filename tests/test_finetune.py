"""finetune.py: from a folder of videos to a dubbed comparison, and the same command again."""

import json
import shutil

import pytest

from conftest import NARROW_TEXT
from dubbing import Dubber
from finetune import run_stage
from training.loop import Loop
from utils.errors import InputError
from utils.files import exclusive_lock

VALUES = (
    f"{NARROW_TEXT},refiner_size=192,refiner_width=0.125,refiner_references=2,refiner_bank=6,refiner_batch_size=2,"
    "max_steps=1,frames_first=1,batch_size=1,single_frames=2,eval_windows=8"
)


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
    assert dubs[0]["refiner"] is None
    generator = read(outdir / "generator" / "stage.json")["result"]
    used = dubs[1]["generator"]["file"]
    assert used == (str(outdir / "generator" / "best.pth") if generator["better"] else dubs[0]["generator"]["file"])

    monkeypatch.setattr(Loop, "run", None)
    monkeypatch.setattr(Dubber, "dub", None)
    again = finetune()
    assert again.code == result.code, again.err
    assert again.out.count("\nfinished before") == 3


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
