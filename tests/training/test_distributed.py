"""Several processes on one training: two on this machine, over gloo or NCCL, as torchrun starts them."""

import json
import os
import subprocess
import sys
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


def run(*arguments) -> str:
    command = [sys.executable, *TORCHRUN, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    output = run(f"{script}.py", *where(preprocessed, two), *common)
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
    output = run("preprocess.py", "--data_root", preprocessed.raw, "--preprocessed_root", tmp_path / "clips",
                 "--filelists_dir", tmp_path / "lists", "--workers", 1)  # fmt: skip
    assert output.count("3 of 3 videos usable") == 1
    made = sorted(path.parent.name for path in (tmp_path / "clips").rglob("clip.json"))
    assert made == ["clip 0", "clip 1", "clip 2"]
    report = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))
    assert [record["clip"] for record in report["clips"]] == [f"Zoë's talk/{name}" for name in made]
    assert (tmp_path / "lists" / "train.txt").read_text(encoding="utf-8").count("\n") == 2
