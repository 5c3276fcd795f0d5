"""Where clips go: never into one another, never over what preprocessing did not make; what counts as finished."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import face_detection
from face_detection.find import find_faces
from hparams import hparams
from portrait import make_clip
from preprocessing import make_clip as clip_making
from preprocessing import plan, survey, worker
from preprocessing.options import PreprocessingOptions
from utils.errors import InputError


def videos(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return sorted(paths)


def test_no_clip_is_another_or_the_folder_of_another(tmp_path):
    found = videos(tmp_path, "g/x.mp4", "g/x/y.mp4", "g/x/y.mov", "g/x/z/deep.mp4", "g/A.mp4", "g/a.mkv", "top.mp4")
    clips = plan.clip_names(found, tmp_path)
    folded = [clip.casefold() for clip in clips]
    assert len(set(folded)) == len(found)
    assert not [(a, b) for a in folded for b in folded if b.startswith(f"{a}/")]
    by_video = {path.relative_to(tmp_path).as_posix(): clip for path, clip in zip(found, clips, strict=True)}
    assert by_video["g/x.mp4"] == "g/x.mp4"
    assert by_video["g/x/y.mov"] == "g/x/y"
    assert by_video["top.mp4"] == f"{tmp_path.name}/top"


def test_videos_behind_links_to_folders_are_found_once_under_their_own_folder_where_it_is_below(tmp_path):
    root = tmp_path / "raw"
    videos(root, "z/own.mp4")
    videos(tmp_path / "elsewhere", "away.mp4", "deep/far.mp4")
    (root / "a link").symlink_to(root / "z", target_is_directory=True)
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to(root, target_is_directory=True)
    (root / "broken").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    found = plan.find_videos(root)
    names = [path.relative_to(root).as_posix() for path in found]
    assert names == ["linked/away.mp4", "linked/deep/far.mp4", "z/own.mp4"]
    assert plan.clip_names(found, root) == ["linked/away", "linked/deep/far", "z/own"]


def test_clips_behind_links_to_folders_are_reported_on(tmp_path):
    for name in ("0.jpg", "audio.wav"):
        videos(tmp_path / "elsewhere" / "clip", name)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "group").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert survey.clip_folders(tmp_path / "clips") == [tmp_path / "clips" / "group" / "clip"]


@pytest.fixture
def made(tmp_path, no_workers, script):
    """run(): preprocess one short video; its clip's folder."""
    raw = tmp_path / "raw" / "g"
    raw.mkdir(parents=True)
    make_clip(raw / "x.mp4", start=1.0, seconds=1.0)
    flags = ["--data_root", tmp_path / "raw", "--preprocessed_root", tmp_path / "clips"]
    return lambda: script("preprocess", *flags, "--filelists_dir", tmp_path / "lists"), tmp_path / "clips" / "g" / "x"


@pytest.mark.slow
def test_a_video_beside_a_folder_of_its_name_loses_neither_clip(made, tmp_path):
    run, folder = made
    (tmp_path / "raw" / "g" / "x").mkdir()
    make_clip(tmp_path / "raw" / "g" / "x" / "y.mp4", start=2.0, seconds=1.0)
    assert run().code == 0
    assert (folder / "y" / "audio.wav").exists()
    assert (folder.with_name("x.mp4") / "audio.wav").exists()
    listed = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "lists").glob("*.txt"))
    assert sorted(listed.split()) == ["g/x.mp4", "g/x/y"]


@pytest.mark.slow
def test_what_preprocessing_did_not_make_is_never_removed(made, tmp_path):
    run, folder = made
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(b"mine")
    (folder / "audio.wav").write_bytes(b"mine")
    assert run().code == 2
    assert (folder / "0.jpg").read_bytes() == b"mine"
    shutil.rmtree(folder)
    assert run().code == 0
    (folder / "notes.txt").write_text("mine")
    make_clip(tmp_path / "raw" / "g" / "x.mp4", start=2.0, seconds=1.0)  # changed: is to be made again
    result = run()
    assert result.code == 2
    assert "notes.txt: does not belong" in result.out
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "0.jpg").exists()


@pytest.mark.slow
def test_a_detector_that_has_come_since_makes_the_clips_anew(made, tmp_path, monkeypatch):
    run, folder = made
    assert run().code == 0
    assert json.loads((folder / "clip.json").read_text(encoding="utf-8"))["origin"]["detector"] == "retinaface"
    options = PreprocessingOptions(data_root=tmp_path / "raw", preprocessed_root=tmp_path / "clips")
    (job,) = plan.plan_jobs(options, hparams)
    assert plan.finished(job)
    weights = tmp_path / "s3fd.pth"
    weights.touch()
    monkeypatch.setattr(face_detection, "S3FD_WEIGHTS", weights)
    (job,) = plan.plan_jobs(options, hparams)
    assert not plan.finished(job)


@pytest.mark.slow
def test_the_folder_on_disk_decides_where_a_clip_is_and_bad_records_get_a_line(preprocessed, tmp_path, script):
    root = tmp_path / "clips"
    shutil.copytree(preprocessed.root, root)
    first, second, third = sorted(path.parent for path in root.rglob("audio.wav"))
    record = json.loads((first / "clip.json").read_text(encoding="utf-8"))
    (first / "clip.json").write_text(json.dumps(record | {"clip": "../../outside"}), encoding="utf-8")
    (second / "clip.json").write_text("{half", encoding="utf-8")
    (third / "clip.json").write_text(json.dumps({"frames": "many"}), encoding="utf-8")
    root.rename(tmp_path / "renamed")
    flags = ["--report_only", "--preprocessed_root", tmp_path / "renamed", "--filelists_dir", tmp_path / "lists"]
    result = script("preprocess", *flags)
    assert result.code == 1, result.error
    assert "clip.json: is damaged" in result.out
    assert "clip.json: was not written by preprocess.py" in result.out
    written = (tmp_path / "renamed" / first.relative_to(root) / "clip.json").read_text(encoding="utf-8")
    assert json.loads(written)["clip"] == first.relative_to(root).as_posix()
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path.parent / "outside").exists()
    listed = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "lists").glob("*.txt"))
    assert set(listed.splitlines()) == {first.relative_to(root).as_posix()}


class SmallMemory:
    """A detector on a device with memory for two frames."""

    name = "small"

    def __init__(self):
        self.sizes = []

    def detect(self, frames):
        if len(frames) > 2:
            raise torch.OutOfMemoryError("full")
        self.sizes.append(len(frames))
        numbers = [float(frame[0, 0, 0]) for frame in frames]
        return [np.array([[100 * n, 0, 100 * n + 50, 50, n]], np.float32) for n in numbers]


@pytest.mark.parametrize("sparse", [False, True])
def test_detection_goes_on_in_smaller_batches_when_memory_runs_out(sparse):
    frames = [np.full((8, 8, 3), number, np.uint8) for number in range(21)]
    detector = SmallMemory()
    found = find_faces(iter(frames), detector, 8, sparse=sparse).detections
    assert [faces[0, 4] for faces in found] == list(range(21))
    assert max(detector.sizes) == 2


def test_any_error_in_one_clip_is_that_clips_problem(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(clip_making, "VideoReader", fails)
    maker = clip_making.ClipMaker.__new__(clip_making.ClipMaker)
    maker.threads = 1
    job = clip_making.Job(tmp_path / "a.mp4", "g/a", tmp_path / "clips/g/a", "retinaface", 8, hparams)
    problem = maker.make_clip(job)["problem"]
    assert problem == "RuntimeError: CUDA error: an illegal memory access"


def test_a_worker_that_cannot_start_says_why(monkeypatch, tmp_path):
    class Devices:
        def get(self):
            return "cuda:9"

    def fails(*_):
        raise RuntimeError("invalid device ordinal")

    monkeypatch.setattr(worker, "ClipMaker", fails)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker.cv2, "setNumThreads", lambda count: None)
    worker.start("sfd", Devices(), 1, None, None)
    with pytest.raises(InputError, match="cuda:9 cannot start: RuntimeError: invalid device ordinal"):
        worker.work(None)
