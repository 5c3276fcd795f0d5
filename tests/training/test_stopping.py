"""A stop is honoured within one step, whoever gets the signal, and leaves a checkpoint that the run goes on from."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import NARROW_TEXT
from runs import EXPERT, where
from training.expert import ExpertTraining
from utils import weight_files

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("checkpoint_step")) for path in folder.glob("checkpoint_step*.pth"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="gloo rendezvous on this machine")
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGINT), (1, signal.SIGHUP), (2, signal.SIGTERM)])
def test_a_signal_to_the_whole_process_group_leaves_a_checkpoint(preprocessed, tmp_path, processes, number):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if processes == 2 else []
    values = f"{NARROW_TEXT},num_workers=1,syncnet_eval_interval=1000000"
    arguments = [*launcher, f"{EXPERT}.py", *where(preprocessed, tmp_path), "--hparams", values, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while steps(tmp_path) != [1]:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        time.sleep(1.0)
        os.killpg(process.pid, number)
        asked = time.monotonic()
        output = process.communicate(timeout=60)[0]
        took = time.monotonic() - asked
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    first, last = steps(tmp_path)
    assert first == 1
    assert "stopping after this step" in output
    assert f"stopped at step {last}" in output
    assert "Traceback" not in output
    assert weight_files.read(tmp_path / f"checkpoint_step{last:09d}.pth")["global_step"] == last
    assert took < 30, output  # when torchrun kills its processes
    if processes == 1:
        assert process.returncode == 130, output


def test_a_stop_cuts_an_evaluation_off_which_is_made_up_for_when_the_run_goes_on(
    preprocessed, tmp_path, script, monkeypatch
):
    real, seen = ExpertTraining.evaluate, []

    def stopped(self, step, *rest):
        seen.append(step)
        if step == 4 and seen.count(4) == 1:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the evaluation went on")
        return real(self, step, *rest)

    monkeypatch.setattr(ExpertTraining, "evaluate", stopped)
    common = [*where(preprocessed, tmp_path), "--hparams", f"{NARROW_TEXT},syncnet_eval_interval=2"]
    stopped_run = script(EXPERT, *common, "--max_steps", 6)
    assert (stopped_run.code, "the evaluation is cut off" in stopped_run.err) == (130, True)
    assert steps(tmp_path) == [1, 4]
    assert script(EXPERT, *common, "--max_steps", 6).code == 0
    content = weight_files.read(tmp_path / "checkpoint_step000000006.pth")
    assert [entry["step"] for entry in content["history"]] == [0, 2, 4, 6]
    assert seen == [0, 2, 4, 4, 6]


@pytest.mark.slow
@pytest.mark.long
def test_loader_workers_leave_a_stop_to_the_main_process_and_end_with_it_without_a_word(preprocessed):
    program = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from data.loading import open_clips, started, training_loader\n"
        "from data.dataset import ExpertWindows\n"
        "from hparams import hparams\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, lambda *_: print('asked'))\n"
        "    hp = hparams.override('num_workers=2,syncnet_batch_size=4')\n"
        "    clips = open_clips(Path(sys.argv[1]), 'train', Path(sys.argv[2]), hp)\n"
        "    threading.Timer(0.3, os.killpg, [os.getpid(), signal.SIGINT]).start()\n"
        "    with started(training_loader(ExpertWindows(clips, hp, True), 4, 0)) as batches:\n"
        "        print(len(next(batches)['faces']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, preprocessed.root, preprocessed.lists], cwd=ROOT, start_new_session=True,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("asked\n4\n", "")


def test_a_stop_before_the_first_step_leaves_nothing_to_go_on_from(preprocessed, tmp_path, script, monkeypatch):
    monkeypatch.setattr(ExpertTraining, "evaluate", lambda *_: signal.raise_signal(signal.SIGINT))
    assert script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_steps", 6).code == 130
    assert steps(tmp_path) == []
