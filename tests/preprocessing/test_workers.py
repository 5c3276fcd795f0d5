"""The worker processes of preprocess.py: how many there are and where they run, and what one that is ended leaves."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portrait import make_clip
from preprocessing import PreprocessingOptions
from preprocessing.run import worker_devices

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


def start(raw: Path, folder: Path) -> subprocess.Popen:
    """preprocess.py with one worker, in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "preprocess.py", *(str(argument) for argument in arguments(raw, folder))]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def wait_for_b(process: subprocess.Popen, folder: Path) -> None:
    """Wait until clip b is being made, the one after a."""
    clips = folder / "clips" / "raw"
    while not ((clips / "a").exists() and any(clips.glob(".*.part"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def workers_of(process: subprocess.Popen) -> list[int]:
    """Process ids of its workers; multiprocessing starts a resource tracker besides."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


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
    with start(raw, tmp_path) as process:
        wait_for_b(process, tmp_path)
        second = script("preprocess", *arguments(raw, tmp_path))
        assert (second.code, "in use by" in second.error) == (2, True), second.error
        (worker,) = workers_of(process)
        os.kill(worker, signal.SIGKILL)
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stop_leaves_whole_clips_only(raw, tmp_path):
    with start(raw, tmp_path) as process:
        wait_for_b(process, tmp_path)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the worker, too
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "clips" / "raw").iterdir()] == ["a"]  # b was given up
    assert whole_clips(tmp_path) == ["a"]


def test_a_worker_that_finds_faces_with_retinaface_does_without_pytorch():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'librosa', 'scipy'])); "
        "from preprocessing import clip_maker; from face_detection import build_detector; "
        "print(build_detector('retinaface', 'cpu', 1).name)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("RetinaFace\n", "")
