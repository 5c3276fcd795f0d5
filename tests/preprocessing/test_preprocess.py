"""Raw videos -> clips, lists, report: what is made, never over what it did not make, and by which processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from conftest import make_clips_here
from footage import click_track, encode
from hparams import hparams
from media import yuv
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import make_clip
from preprocessing import PreprocessingOptions, clip_maker, run
from preprocessing.clip_maker import ClipMaker, Job
from preprocessing.run import worker_devices


def test_a_clip_has_a_face_for_every_frame_and_sound_as_long_and_is_listed_and_reported(preprocessed):
    for n in range(3):
        clip = preprocessed.root / "Zoë's talk" / f"clip {n}"
        record = json.loads((clip / "clip.json").read_text(encoding="utf-8"))
        assert record["verdict"] == "ok"
        assert record["frames"] == record["faces"] == 50
        assert {path.name for path in clip.glob("*.jpg")} == {f"{i}.jpg" for i in range(50)}
        sound = soundfile.info(clip / "audio.wav")
        assert (sound.samplerate, sound.channels, sound.frames) == (16000, 1, 32000)
        face = cv2.imdecode(np.fromfile(clip / "10.jpg", np.uint8), cv2.IMREAD_COLOR)
        assert abs(face.shape[0] - record["face_height"]) < 15
        assert 100 < face.shape[0] < 150
    total = json.loads((preprocessed.root / "report.json").read_text(encoding="utf-8"))["total"]
    assert (total["videos"], total["usable"], total["minutes"], total["faces_found"]) == (3, 3, 0.1, 1.0)
    assert 0.3 < total["speech_share"] < 1
    listed = "".join((preprocessed.lists / name).read_text(encoding="utf-8") for name in ("train.txt", "eval.txt"))
    assert sorted(listed.splitlines()) == [f"Zoë's talk/clip {n}" for n in range(3)]


@pytest.mark.slow
def test_what_cannot_be_used_is_skipped_and_named_while_the_rest_is_made(tmp_path, talking, script):
    raw = tmp_path / "raw"
    (raw / "deep" / "er").mkdir(parents=True)
    shutil.copy(talking, raw / "good.mp4")
    make_clip(raw / "deep" / "er" / "good.mp4", start=1.0, seconds=2.0, fps=30.0)
    shutil.copy(talking, raw / "deep" / "er" / "good.MOV")
    strange = "\udcff\n \u2028" if sys.platform == "linux" else "long"  # no UTF-8
    strange += "a" * (250 - len(os.fsencode(strange)))
    shutil.copy(talking, raw / f"{strange}.mp4")
    (raw / "text.mp4").write_text("not a video\n" * 50)
    (raw / "cut.mkv").write_bytes(talking.read_bytes()[:30_000])
    encode(raw / "mute.mp4", "libx264")
    encode(raw / "faceless.mp4", "libx264", frames=25, sound=click_track(1.0, 0.5))
    result = script("preprocess", "--data_root", raw, "--preprocessed_root", tmp_path / "clips", "--filelists_dir",
                    tmp_path / "lists", "--workers", 2)  # fmt: skip
    assert result.code == 1
    records = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))["clips"]
    verdicts = {record["clip"]: record["verdict"].split(";")[0] for record in records}
    (retimed,) = [record for record in records if record["clip"] == "deep/er/good.mp4"]
    assert (retimed["fps_in"], retimed["frames"], retimed["seconds"]) == (30.0, 50, 2.0)
    assert {clip for clip, verdict in verdicts.items() if verdict == "ok"} == {
        "raw/good", "deep/er/good", "deep/er/good.mp4", f"raw/{strange}"
    }  # fmt: skip
    assert "not a readable video" in verdicts["raw/text"]
    assert "no sound track" in verdicts["raw/mute"]
    assert "no face" in verdicts["raw/faceless"]
    assert "4 of 8 videos usable" in result.out
    assert not list((tmp_path / "clips").rglob("*.part"))


def test_a_dub_is_skipped_with_its_reason_unless_dubs_are_accepted(tmp_path, talking, script, no_workers):
    raw = tmp_path / "raw"
    raw.mkdir()
    reader = VideoReader(talking)
    with VideoWriter(raw / "a dub.mp4", reader.rate, talking, like=reader, dubbed=True) as writer:
        for time, picture in reader.pictures():
            writer.write_picture(picture, time)
    shutil.copy(talking, raw / "real.mp4")
    where = ["--data_root", raw, "--preprocessed_root", tmp_path / "clips", "--filelists_dir", tmp_path / "lists"]
    for flags, code, finished in (([], 1, 0), (["--accept_dubs"], 0, 1), ([], 1, 1)):
        result = script("preprocess", *where, *flags)
        assert (result.code, f"{finished} finished before" in result.out) == (code, True)
        report = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))
        said = "--accept_dubs" in json.dumps(report)
        listed = any("a dub" in path.read_text(encoding="utf-8") for path in (tmp_path / "lists").glob("*.txt"))
        assert (said, listed) == (code == 1, code == 0)


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


ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
CHILDREN = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")  # depends on how the kernel was built


@pytest.mark.parametrize(
    ("machine", "on_gpu", "settings", "expected"),
    [
        ({"gpus": 4}, True, {"ngpu": 9}, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        ({"gpus": 2, "cores": 6}, False, {"ngpu": 2}, ["cpu"] * 6),  # RetinaFace runs on the CPU
        ({"gpus": 4}, True, {"ngpu": 2, "device": "cuda:3"}, ["cuda:3"]),
        ({"gpus": 4}, True, {"workers": 3, "ngpu": 2}, ["cuda:0", "cuda:1", "cuda:0"]),
        ({"gpus": 2, "here": 3, "place": 1}, True, {"workers": 2}, ["cuda:1"] * 2),  # under torchrun
        ({"gpus": 0, "cores": 2, "here": 3, "place": 2}, True, {}, ["cpu"]),
    ],
)
def test_workers_share_gpus_or_cores(monkeypatch, machine, on_gpu, settings, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: machine.get("gpus", 0))
    monkeypatch.setattr("os.cpu_count", lambda: machine.get("cores", 8))
    if "here" in machine:  # processes that torchrun has started on this machine, and which of them this one is
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(machine["here"]))
        monkeypatch.setenv("LOCAL_RANK", str(machine["place"]))
    options = PreprocessingOptions(data_root="raw", preprocessed_root="clips", **settings)
    assert worker_devices(options, on_gpu) == expected


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """A video of 1 s; one of 5 s, in which there is time to stop; one of 1 s."""
    folder = tmp_path_factory.mktemp("videos") / "raw"
    folder.mkdir()
    make_clip(folder / "a.mp4", start=1.0, seconds=1.0)
    make_clip(folder / "b.mp4", start=0.0, seconds=5.0)
    shutil.copy(folder / "a.mp4", folder / "c.mp4")
    return folder


def arguments(raw: Path, folder: Path) -> list:
    return ["--data_root", raw, "--preprocessed_root", folder / "clips", "--filelists_dir", folder / "lists",
            "--workers", 1]  # fmt: skip


def whole_clips(folder: Path) -> list[str]:
    """Names of the clips under their final names, each of which must be complete."""
    names = {"a": 25, "b": 125, "c": 25}
    clips = sorted(path for path in (folder / "clips" / "raw").iterdir() if not path.name.startswith("."))
    for clip in clips:
        pictures = {f"{n}.jpg" for n in range(names[clip.name])}
        assert pictures | {"audio.wav", "clip.json"} <= {path.name for path in clip.iterdir()}
    return [clip.name for clip in clips]


@pytest.mark.slow
@pytest.mark.skipif(not CHILDREN.exists(), reason="child processes are not listed in /proc")
def test_a_worker_that_dies_gives_one_error_and_the_same_command_makes_the_rest(raw, tmp_path, script, no_workers):
    command = [sys.executable, "preprocess.py", *map(str, arguments(raw, tmp_path))]
    clips, pipe = tmp_path / "clips" / "raw", subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        while not ((clips / "a").exists() and any(clips.glob(".*.part"))):  # until b is being made
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        second = script("preprocess", *arguments(raw, tmp_path))
        assert (second.code, "in use by" in second.error) == (2, True), second.error
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = [child for task in tasks for child in task.read_text().split()]  # multiprocessing's tracker, too
        (worker,) = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        os.kill(int(worker), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "use fewer --workers" in error
    assert "Traceback" not in err
    assert whole_clips(tmp_path) == ["a"]
    first = tmp_path / "clips" / "raw" / "a" / "0.jpg"
    before = first.stat().st_mtime_ns
    result = script("preprocess", *arguments(raw, tmp_path))
    assert result.code == 0, result.err
    assert "3 videos, 1 finished before" in result.out
    assert first.stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "clips" / "raw").iterdir()) == whole_clips(tmp_path)


def test_a_worker_that_finds_faces_with_retinaface_does_without_pytorch():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'librosa', 'scipy'])); "
        "from preprocessing import clip_maker; from face_detection import build_detector; "
        "print(build_detector('retinaface', 'cpu', 1).name)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("RetinaFace\n", "")
