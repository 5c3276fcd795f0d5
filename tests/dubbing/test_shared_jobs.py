"""Processes that torchrun started share a list of jobs: two on this machine, over gloo."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_jobs import BOX, write_list

from media.reader import VideoReader
from portrait import SPEECH

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="gloo rendezvous on this machine"),
]


def start(*arguments, **variables: str) -> subprocess.Popen:
    """inference.py, by torchrun unless environment variables are given."""
    command = [*([sys.executable] if variables else TORCHRUN), "inference.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **variables}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def listed(folder: Path, talking, speech, generator, faces: dict) -> list:
    common = {"audio": str(speech), "box": BOX, "checkpoint_path": str(generator), "preview": "0.2", "no_score": "True"}
    common["engine"] = "torch"  # no preparation, in which the processes would take turns
    rows = [common | {"face": str(face), "outfile": name} for name, face in faces.items()]
    return ["--jobs", write_list(folder / "jobs.json", *rows), "--device", "cpu"]


def test_each_job_is_done_once_and_a_failure_counts_after_all_others_are_done(tmp_path, talking, speech, generator):
    faces = {"0.mp4": talking, "1.mp4": tmp_path / "missing.mp4", "2.mp4": talking, "3.mp4": talking, "4.mp4": talking}
    with start(*listed(tmp_path, talking, speech, generator, faces)) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert "exitcode  : 1 " in output  # of the first process; torchrun's own is 1 for any
    for number in range(1, 6):
        assert output.count(f"job {number} of 5: ") == 1, output
    assert output.count("error: ") == output.count("error: job 2: ") == 1, output
    for name in ("0.mp4", "2.mp4", "3.mp4", "4.mp4"):
        assert output.count(f"{tmp_path / name}: 5 frames") == 1, output
        assert len(list(VideoReader(tmp_path / name).frames())) == 5
    assert not (tmp_path / "1.mp4").exists()


def test_an_error_in_the_list_is_told_once_with_code_2(tmp_path, talking, speech, generator):
    path = write_list(tmp_path / "jobs.json", {"face": "f.mp4", "audio": ""})
    with start("--jobs", path, "--device", "cpu") as process:
        output = process.communicate(timeout=120)[0]
    assert output.count("error: ") == output.count("job 1 lacks face or audio") == 1, output
    assert "exitcode  : 2 " in output


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_does_not_leave_the_others_waiting(tmp_path, talking, speech, generator, victim):
    """Without torchrun, which would end them, as where it runs on another machine."""
    faces = {f"{n}.mp4": talking for n in range(2)}
    arguments = listed(tmp_path, talking, speech, generator, faces)
    rows = json.loads(arguments[1].read_text(encoding="utf-8"))
    rows[victim] |= {"preview": "100", "audio": str(SPEECH), "codec": "libsvtav1"}
    write_list(arguments[1], *rows)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [start(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank in range(2)]
    try:
        wait_for(lambda: (tmp_path / f"{1 - victim}.mp4.json").exists())
        time.sleep(0.5)
        processes[victim].kill()
        output = processes[1 - victim].communicate(timeout=30)[0]
        assert processes[1 - victim].returncode == 2, output
        assert output.count("error: ") == output.count("another process of this run ended too early") == 1, output
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
