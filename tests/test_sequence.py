"""The command lines that people have in their notes, one after the other."""

import shutil

import pytest

from conftest import NARROW_TEXT, run_quietly


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("no_workers")
def test_preprocessing_training_and_dubbing_as_in_the_published_notes(
    preprocessed, expert, speech, talking, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    root = data / "preprocessed_root"
    shutil.copytree(preprocessed.raw / "Zoë's talk", data / "original_data")
    assert run_quietly("preprocess", "--ngpu", 1, "--batch_size", 8, "--data_root", data / "original_data",
                       "--preprocessed_root", root) == 0  # fmt: skip
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "train.txt").write_text("clip 0 0\nclip 1 0\n")  # with the labels of published lists
    (bare / "val.txt").write_text("clip 2\n")
    for lists in (bare, tmp_path / "filelists"):
        saved = tmp_path / f"savedmodel {lists.name}"
        assert run_quietly("wav2lip_train", "--data_root", root / "original_data", "--checkpoint_dir", saved,
                           "--filelists_dir", lists, "--syncnet_checkpoint_path", expert, "--hparams", NARROW_TEXT,
                           "--max_steps", 2) == 0  # fmt: skip
    first = saved / "checkpoint_step000000001.pth"
    assert run_quietly("inference", "--checkpoint_path", first, "--face", talking, "--audio", speech, "--out-file",
                       "./output", "--preview", 0.4) == 0  # fmt: skip
    assert (tmp_path / "output" / f"{talking.stem}_{speech.stem}.mp4").exists()
