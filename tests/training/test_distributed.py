"""Several processes on one training: two on this machine, over gloo or NCCL, as torchrun starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import NARROW_TEXT, run_quietly
from gpus import needs_gpus
from runs import EXPERT, GENERATOR, scalars, where
from utils import weight_files

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "NVIDIA_TF32_OVERRIDE": "0"}


def start(*arguments) -> subprocess.Popen:
    command = [sys.executable, *(str(argument) for argument in arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def run(*arguments) -> str:
    with start(*arguments) as process:
        output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    return output


def mean_gradients(path: Path) -> torch.Tensor:
    """Adam's running mean of the gradients, of all weights as one vector."""
    state = weight_files.read(path)["optimizer"]["state"]
    return torch.cat([values["exp_avg"].flatten() for values in state.values()])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="gloo rendezvous on this machine")
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
    output = run(*TORCHRUN, f"{script}.py", *where(preprocessed, two), *common)
    assert output.count("train: 2 clips") == 1  # the other process is silent
    for name in ["loss"] if script == EXPERT else ["l1", "sync", "disc"]:
        a, b = scalars(one, f"train/{name}"), scalars(two, f"train/{name}")
        assert sorted(a) == sorted(b) == [10]
        assert b[10] == pytest.approx(a[10], rel=1e-3)
    a, b = (mean_gradients(folder / "checkpoint_step000000010.pth") for folder in (one, two))
    assert (a - b).norm() < 0.001 * a.norm()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="gloo rendezvous on this machine")
def test_two_processes_share_the_videos_and_write_one_report(preprocessed, tmp_path):
    output = run(*TORCHRUN, "preprocess.py", "--data_root", preprocessed.raw, "--preprocessed_root", tmp_path / "clips",
                 "--filelists_dir", tmp_path / "lists", "--workers", 1)  # fmt: skip
    assert output.count("3 of 3 videos usable") == 1
    made = sorted(path.parent.name for path in (tmp_path / "clips").rglob("clip.json"))
    assert made == ["clip 0", "clip 1", "clip 2"]
    report = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))
    assert [record["clip"] for record in report["clips"]] == [f"Zoë's talk/{name}" for name in made]
    assert (tmp_path / "lists" / "train.txt").read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_run_goes_on_as_if_it_had_not_been(preprocessed, tmp_path):
    values = f"{NARROW_TEXT},syncnet_checkpoint_interval=5,syncnet_eval_interval=15,eval_windows=8"
    common = ["--hparams", values, "--precision", "fp32", "--device", "cpu"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_quietly(EXPERT, *where(preprocessed, whole), *common, "--max_steps", 30) == 0

    endless = ["--max_steps", 100_000, "--keep", 1000]
    with start(f"{EXPERT}.py", *where(preprocessed, killed), *common, *endless) as process:
        while not (killed / "checkpoint_step000000010.pth").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    for path in killed.glob("checkpoint_step*.pth"):
        if path.name > "checkpoint_step000000020.pth":
            path.unlink()
    (killed / "checkpoint_step000000099.pth.part").write_bytes(b"killed in the middle of writing")

    assert run_quietly(EXPERT, *where(preprocessed, killed), *common, "--max_steps", 30) == 0
    a, b = (weight_files.read(folder / "checkpoint_step000000030.pth") for folder in (whole, killed))
    assert all(torch.equal(a["trained_state_dict"][name], b["trained_state_dict"][name]) for name in a["state_dict"])
    assert scalars(whole, "train/loss") == scalars(killed, "train/loss")
    rates = {"frames/s", "waiting"}
    for x, y in zip(a["history"], b["history"], strict=True):
        assert x["scores"] == y["scores"]
        assert {k: v for k, v in x["losses"].items() if k not in rates} == {
            k: v for k, v in y["losses"].items() if k not in rates
        }
