"""The command lines that people have in their notes, one after the other."""

import shutil

import pytest

from conftest import NARROW_TEXT, run_quietly
from data.filelists import listed_clips


@pytest.mark.slow
@pytest.mark.long
def test_preprocessing_training_and_dubbing_as_in_the_published_notes(
    preprocessed, expert, speech, talking, tmp_path, monkeypatch, no_workers
):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(preprocessed.raw / "Zoë's talk", data / "original_data")
    root = data / "preprocessed_root"
    assert run_quietly("preprocess", "--ngpu", 1, "--batch_size", 8, "--data_root", data / "original_data",
                       "--preprocessed_root", root) == 0  # fmt: skip
    names = {"clip 0", "clip 1", "clip 2"}
    lists = tmp_path / "filelists"
    written = "".join((lists / f"{split}.txt").read_text(encoding="utf-8") for split in ("train", "eval"))
    assert set(written.splitlines()) == {f"original_data/{name}" for name in names}

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "train.txt").write_text("clip 0 0\nclip 1 0\n")  # with the labels of published lists
    (bare / "val.txt").write_text("clip 2\n")
    found = {
        (root_given.name, folder.name): {path.resolve() for split in ("train", "eval")
                                         for path in listed_clips(folder, split, root_given)}
        for root_given, folder in ((root, lists), (root / "original_data", lists), (root / "original_data", bare))
    }  # fmt: skip
    assert set(map(frozenset, found.values())) == {frozenset(root / "original_data" / name for name in names)}

    for data_root, filelists in ((root / "original_data", bare), (root / "original_data", lists)):
        saved = tmp_path / f"savedmodel {filelists.name}"
        assert run_quietly("wav2lip_train", "--data_root", data_root, "--checkpoint_dir", saved, "--filelists_dir",
                           filelists, "--syncnet_checkpoint_path", expert, "--hparams", NARROW_TEXT,
                           "--max_steps", 2) == 0  # fmt: skip
        first = saved / "checkpoint_step000000001.pth"
        assert first.exists()
    assert run_quietly("inference", "--checkpoint_path", first, "--face", talking, "--audio", speech, "--out-file",
                       "./output", "--preview", 0.4) == 0  # fmt: skip
    assert (tmp_path / "output" / f"{talking.stem}_{speech.stem}.mp4").exists()
