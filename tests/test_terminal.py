"""The scripts in a pseudo-terminal: bars with and without a total, and errors that end a training and its workers."""

import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from conftest import NARROW_TEXT, run_quietly
from runs import EXPERT, GENERATOR, where
from utils import progress

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
termios = pytest.importorskip("termios", reason="needs a pseudo-terminal")

ROOT = Path(__file__).parent.parent
FAILING = """
import sys
from training.expert import ExpertTraining
from utils import cli
import color_syncnet_train as script

def fails(self, step, batch):
    if step == 2:
        print("raised", flush=True)
        raise ValueError("of a kind that nobody expects")
    return real(self, step, batch)

real, ExpertTraining.train_on = ExpertTraining.train_on, fails
if __name__ == "__main__":
    cli.run(script.main, script.parse_args)
"""


class Terminal:
    """stream: what a script is given as a terminal; shown: all that was written there."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self.shown = ""
        threading.Thread(
            target=self._read, daemon=True
        ).start()  # helpers of multiprocessing may keep the other end open

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self._ours, 10_000)
            except OSError:  # how Linux says that the other end is closed
                block = b""
            if not block:
                return
            self.shown += block.decode(errors="replace")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.delenv(progress.DISABLED, raising=False)
    opened = Terminal()
    with opened.stream:
        yield opened


def run_in(terminal: Terminal, *arguments) -> int:
    with redirect_stdout(terminal.stream), redirect_stderr(terminal.stream):
        code = run_quietly(*arguments)
        print("all was shown", flush=True)
    while not terminal.shown.rstrip().endswith("all was shown"):
        time.sleep(0.01)
    return code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained", "ends"), [(EXPERT, ["--max_steps", 2]), (GENERATOR, ["--max_minutes", 0.01])], ids=["steps", "minutes"]
)
def test_trainings(trained, ends, preprocessed, expert, tmp_path, terminal):
    more = ["--syncnet_checkpoint_path", expert] if trained == GENERATOR else []
    values = ["--hparams", f"{NARROW_TEXT},eval_windows=8"]
    code = run_in(terminal, trained, *where(preprocessed, tmp_path), *more, *values, *ends)
    assert code in (0, 1), terminal.shown  # so few steps need not make anything better
    assert "training: " in terminal.shown
    assert ("2/2" in terminal.shown) == (trained == EXPERT)


@pytest.mark.slow
def test_a_dub(talking, speech, generator, tmp_path, terminal):
    inference = ["--face", talking, "--audio", speech, "--checkpoint_path", generator, "--outfile", tmp_path / "a.mp4"]
    assert run_in(terminal, "inference", *inference) == 0, terminal.shown
    assert "dubbing: " in terminal.shown


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are not listed in /proc")
def test_an_error_ends_a_training_and_its_workers_within_seconds(preprocessed, tmp_path, terminal):
    program = tmp_path / "failing.py"
    program.write_text(FAILING)
    values = f"{NARROW_TEXT},num_workers=1"
    arguments = [program, *where(preprocessed, tmp_path / "run"), "--hparams", values]
    mark = {"STARTED_BY": str(tmp_path)}
    environment = {**os.environ, **mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], env=environment, cwd=ROOT, start_new_session=True,
        stdin=terminal.stream, stdout=terminal.stream, stderr=terminal.stream,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while "raised" not in terminal.shown:
            assert process.poll() is None and time.monotonic() < deadline, terminal.shown
            time.sleep(0.05)
        assert process.wait(15) != 0
        deadline = time.monotonic() + 10
        while started := [path for path in Path("/proc").glob("[0-9]*") if _belongs(path, mark)]:
            assert time.monotonic() < deadline, started
            time.sleep(0.1)
    finally:
        for path in Path("/proc").glob("[0-9]*"):
            if _belongs(path, mark):
                os.kill(int(path.name), 9)


def _belongs(process: Path, mark: dict[str, str]) -> bool:
    ((name, value),) = mark.items()
    try:
        return f"{name}={value}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False
