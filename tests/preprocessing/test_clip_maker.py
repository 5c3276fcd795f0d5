"""One video becomes one clip, never over what preprocessing did not make."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import make_clips_here
from hparams import hparams
from media import yuv
from media.reader import VideoReader
from portrait import make_clip
from preprocessing import PreprocessingOptions, clip_maker, run
from preprocessing.clip_maker import ClipMaker, Job


def touched(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return sorted(paths)


def test_no_clip_is_another_or_the_folder_of_another(tmp_path):
    found = touched(tmp_path, "g/x.mp4", "g/x/y.mp4", "g/x/y.mov", "g/x/z/deep.mp4", "g/A.mp4", "g/a.mkv", "top.mp4")
    clips = run.clip_names(found, tmp_path)
    folded = [clip.casefold() for clip in clips]
    assert len(set(folded)) == len(found)
    assert not [(a, b) for a in folded for b in folded if b.startswith(f"{a}/")]
    by_video = {path.relative_to(tmp_path).as_posix(): clip for path, clip in zip(found, clips, strict=True)}
    assert by_video["g/x.mp4"] == "g/x.mp4"
    assert by_video["g/x/y.mov"] == "g/x/y"
    assert by_video["top.mp4"] == f"{tmp_path.name}/top"


def test_videos_behind_links_to_folders_are_found_once_under_their_own_folder_where_it_is_below(tmp_path):
    root = tmp_path / "raw"
    touched(root, "z/own.mp4")
    touched(tmp_path / "elsewhere", "away.mp4", "deep/far.mp4")
    (root / "a link").symlink_to(root / "z", target_is_directory=True)
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to(root, target_is_directory=True)
    (root / "broken").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    assert list(run.find_videos(root)) == ["linked/away", "linked/deep/far", "z/own"]


@pytest.fixture
def job(tmp_path, talking) -> Job:
    options = PreprocessingOptions(data_root=talking.parent, preprocessed_root=tmp_path / "clips")
    return Job(talking, "g/a", "retinaface", options, hparams)


def test_long_videos_are_decoded_again_and_give_the_same_clip(job, tmp_path, talking, monkeypatch):
    passes, read, results = [], VideoReader.pictures, []

    def pictures(reader, *arguments, **settings):
        passes.append(1)
        yield from read(reader, *arguments, **settings)
        reader.damaged_packets = 4 - len(passes)  # of the whole video; decoding again stops at the last face

    monkeypatch.setattr(VideoReader, "pictures", pictures)
    for held, count in ((clip_maker.HELD_BYTES, 1), (10_000_000, 2)):
        monkeypatch.setattr(clip_maker, "HELD_BYTES", held)
        passes.clear()
        record = ClipMaker("retinaface", "cpu", 1).make_clip(job)
        assert record.problem is None
        assert len(passes) == count
        assert record.frames == record.faces == 50
        assert record.damaged_packets == 3
        results.append({path.name: path.read_bytes() for path in job.folder.glob("*.*g")})
    assert len(results[0]) == 50
    assert results[0] == results[1]
    picture = list(read(VideoReader(talking)))[10][1]
    crop = cv2.imdecode(np.frombuffer(results[0]["10.jpg"], np.uint8), cv2.IMREAD_COLOR)
    best = cv2.matchTemplate(yuv.to_bgr(picture), crop, cv2.TM_SQDIFF).min() / crop.size
    assert best < 30  # the crop of that very frame


def test_any_error_in_one_clip_is_that_clips_problem(job, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(clip_maker, "VideoReader", fails)
    (record,) = make_clips_here([job], ["cpu"], "retinaface")
    assert record.problem == "RuntimeError: CUDA error: an illegal memory access"
    assert not record.made


@pytest.mark.slow
def test_what_preprocessing_did_not_make_is_never_removed(tmp_path, no_workers, script):
    raw, folder = tmp_path / "raw" / "g", tmp_path / "clips" / "g" / "x"
    raw.mkdir(parents=True)
    make_clip(raw / "x.mp4", start=1.0, seconds=1.0)
    flags = ["--data_root", tmp_path / "raw", "--preprocessed_root", tmp_path / "clips", "--filelists_dir", tmp_path]
    for name in touched(folder, "0.jpg", "audio.wav"):
        name.write_bytes(b"mine")
    assert script("preprocess", *flags).code == 2
    assert (folder / "0.jpg").read_bytes() == b"mine"
    shutil.rmtree(folder)
    (raw / "x").mkdir()  # beside the video of that name
    make_clip(raw / "x" / "y.mp4", start=2.0, seconds=1.0)
    assert script("preprocess", *flags).code == 0
    listed = "".join((tmp_path / name).read_text(encoding="utf-8") for name in ("train.txt", "eval.txt"))
    assert sorted(listed.split()) == ["g/x.mp4", "g/x/y"]
    (folder / "y" / "notes.txt").write_text("mine")
    make_clip(raw / "x" / "y.mp4", start=3.0, seconds=1.0)  # changed: has to be made again
    result = script("preprocess", *flags)
    assert result.code == 1
    assert "notes.txt: does not belong" in result.out
    assert (folder / "y" / "notes.txt").read_text() == "mine"
    assert (folder / "y" / "0.jpg").exists()
