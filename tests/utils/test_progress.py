"""A bar in a terminal, lines elsewhere, and signs of life."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils import cli, progress
from utils.progress import Progress

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def hasty(monkeypatch) -> None:
    """Lines are due after a tenth of a second."""
    monkeypatch.delenv(progress.DISABLED, raising=False)
    monkeypatch.setattr(progress, "SHOWN_FROM", 0.001)
    monkeypatch.setattr(progress, "FIRST_LINE", 0.1)


@pytest.mark.usefixtures("hasty")
def test_a_log_gets_few_lines_and_at_the_end_the_true_count(capsys):
    for _ in Progress(iter(range(6)), "faces", unit="frame", total=9):
        time.sleep(0.06)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert all(line.startswith("faces: ") for line in lines)
    assert "/9 " in lines[0] and "6/6" in lines[-1]


@pytest.mark.usefixtures("hasty")
def test_the_bar_of_a_loop_that_an_error_leaves_ends_before_the_error_is_told(capsys):
    def main(_) -> None:
        for _ in Progress(range(9), "faces"):
            time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        cli.run(main, lambda _: SimpleNamespace(), [])
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["faces", "interrupted"]


def test_short_work_and_disabled_bars_show_nothing(capsys, monkeypatch):
    list(Progress(range(3), "dubbing"))
    monkeypatch.setattr(progress, "SHOWN_FROM", 0.001)
    monkeypatch.setenv(progress.DISABLED, "1")
    with Progress(range(100), "dubbing") as bar, bar.paused():
        bar.update()
    assert capsys.readouterr().err == ""


def test_long_silence_is_broken_and_a_script_that_waits_for_somebody_says_nothing():
    program = """
import sys, time
from types import SimpleNamespace
from utils import cli, progress
progress.SHOWN_FROM, progress.FIRST_LINE = 0.05, 0.3
def main(_):
    with progress.doing("clips"):
        time.sleep(1)
    print("asked", file=sys.stderr)
    with progress.doing(progress.WAITING):
        time.sleep(1)
cli.run(main, lambda _: SimpleNamespace())
"""
    environment = {name: value for name, value in os.environ.items() if name != progress.DISABLED}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    before, after = done.stderr.split("asked\n")
    assert 1 <= before.count("clips") == len(before.splitlines()) <= 5
    assert after == ""
