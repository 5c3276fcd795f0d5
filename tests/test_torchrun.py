"""Two processes on this machine, over gloo or NCCL, as torchrun starts them: trainings, preprocessing, jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import EXPERT, GENERATOR, NARROW_TEXT, needs_gpus, run_quietly, scalars, steps, where
from footage import record_of
from training.checkpoint import NUMBERED
from utils import weight_files

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "NVIDIA_TF32_OVERRIDE": "0"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="gloo rendezvous on this machine"),
]


def start(*arguments) -> subprocess.Popen:
    """Two processes of a script, in a process group of their own; what they print on either stream comes as one."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    return subprocess.Popen(
        [*map(str, command)], cwd=ROOT, env=ENVIRONMENT, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(*arguments, code: int = 0) -> str:
    process = start(*arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def mean_gradients(path: Path) -> torch.Tensor:
    """Adam's running mean of the gradients, of all weights as one vector."""
    state = weight_files.read(path)["optimizer"]["state"]
    return torch.cat([values["exp_avg"].flatten() for values in state.values()])


@pytest.mark.parametrize("script", [EXPERT, GENERATOR])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpus(2))])
def test_two_processes_train_as_one_with_the_same_global_batch(
    preprocessed, expert, tmp_path, monkeypatch, script, device
):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as in ENVIRONMENT
    # a small learning rate: Adam's first steps go by the signs of gradients, also of those that are but rounding
    values = f"{NARROW_TEXT},freeze_batch_norm=True,syncnet_wt=0.03,accumulate=2,eval_windows=8"
    values += ",syncnet_lr=1e-7,initial_learning_rate=1e-7,disc_initial_learning_rate=1e-7"
    more = ["--syncnet_checkpoint_path", expert, "--gan"] if script == GENERATOR else []
    common = [*more, "--hparams", values, "--precision", "fp32", "--device", device, "--max_steps", 10]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run_quietly(script, *where(preprocessed, one), *common) == 0
    output = run(f"{script}.py", *where(preprocessed, two), *common)
    assert output.count("train: 2 clips") == 1  # the other process is silent
    for name in ["loss"] if script == EXPERT else ["l1", "sync", "disc"]:
        a, b = scalars(one, f"train/{name}"), scalars(two, f"train/{name}")
        assert sorted(a) == sorted(b) == [10]
        assert b[10] == pytest.approx(a[10], rel=1e-3)
    a, b = (mean_gradients(folder / "checkpoint_step000000010.pth") for folder in (one, two))
    assert (a - b).norm() < 0.001 * a.norm()


def test_two_processes_share_the_videos_and_write_one_report(preprocessed, tmp_path):
    output = run("preprocess.py", "--data_root", preprocessed.raw, "--preprocessed_root", tmp_path / "clips",
                 "--filelists_dir", tmp_path / "lists", "--workers", 1)  # fmt: skip
    assert output.count("3 of 3 videos usable") == 1
    made = sorted(path.parent.name for path in (tmp_path / "clips").rglob("clip.json"))
    assert made == ["clip 0", "clip 1", "clip 2"]
    report = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))
    assert [record["clip"] for record in report["clips"]] == [f"Zoë's talk/{name}" for name in made]
    assert (tmp_path / "lists" / "train.txt").read_text(encoding="utf-8").count("\n") == 2


def test_a_signal_to_the_whole_process_group_leaves_a_checkpoint(preprocessed, tmp_path):
    values = f"{NARROW_TEXT},num_workers=1,syncnet_eval_interval=1000000"
    process = start(f"{EXPERT}.py", *where(preprocessed, tmp_path), "--hparams", values, "--device", "cpu")
    try:
        deadline = time.monotonic() + 120
        while steps(tmp_path) != [1]:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGTERM)
        output = process.communicate(timeout=30)[0]  # when torchrun kills its processes
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    first, last = steps(tmp_path)
    assert (first, weight_files.read(tmp_path / NUMBERED.format(last))["global_step"]) == (1, last)
    assert "stopping after this step" in output
    assert f"stopped at step {last}" in output
    assert output.count("Traceback") <= 1  # of torchrun itself


def test_each_job_is_done_once_and_failures_are_counted(tmp_path, talking, speech, generator):
    common = {"audio": str(speech), "box": "57 177 178 273", "checkpoint_path": str(generator), "preview": "0.2"}
    common |= {"no_score": "True", "engine": "torch"}  # no preparation, in which the processes would take turns
    faces = [talking, tmp_path / "missing.mp4", talking, talking, talking]
    rows = [common | {"face": str(face), "outfile": f"{n}.mp4"} for n, face in enumerate(faces)]
    (tmp_path / "jobs.json").write_text(json.dumps(rows), encoding="utf-8")
    output = run("inference.py", "--jobs", tmp_path / "jobs.json", "--device", "cpu", code=1)
    for number in range(1, 6):
        assert output.count(f"job {number} of 5: ") == 1, output
    assert output.count("error: ") == output.count("error: job 2: ") == 1, output
    for number in (0, 2, 3, 4):
        assert record_of(tmp_path / f"{number}.mp4")["frames"] == 5
    assert not (tmp_path / "1.mp4").exists()
