"""A training in a pseudo-terminal: its bar, and an error that ends it and its workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import NARROW_TEXT
from runs import where

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
termios = pytest.importorskip("termios", reason="needs a pseudo-terminal")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FAILING = """
import color_syncnet_train
from training.expert import ExpertTraining
from utils import cli, progress
progress.SHOWN_FROM = 0.01
def fails(self, step, batch):
    if step == 3:
        raise ValueError("of a kind that nobody expects")
    return real(self, step, batch)
real, ExpertTraining.train_on = ExpertTraining.train_on, fails
if __name__ == "__main__":
    cli.run(color_syncnet_train.main, color_syncnet_train.parse_args)
"""


def in_terminal(program: Path, *arguments) -> tuple[int, str]:
    """The exit code of a program and all that was shown, once it and all processes that it started have ended."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"} | {
        "PYTHONPATH": str(ROOT)
    }
    command = [sys.executable, program, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    blocks = []
    try:
        while block := os.read(ours, 10_000):
            blocks.append(block)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(), b"".join(blocks).decode(errors="replace")


@pytest.mark.timeout(120)
def test_an_error_ends_a_training_and_its_workers(preprocessed, tmp_path):
    values = ["--hparams", f"{NARROW_TEXT},num_workers=1", "--max_steps", 5]
    arguments = [*where(preprocessed, tmp_path / "run"), *values]
    (tmp_path / "failing.py").write_text(FAILING)
    code, shown = in_terminal(tmp_path / "failing.py", *arguments)
    assert code == 1
    assert "ValueError: of a kind that nobody expects" in shown
    assert "training: " in shown and "/5 [" in shown
