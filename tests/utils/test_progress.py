"""Progress: a bar in a terminal, few lines in a log, nothing when asked for nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils import progress
from utils.progress import Progress

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to: clock(seconds)."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def test_a_log_gets_few_lines_without_carriage_returns(clock, capsys):
    for _ in Progress(range(3600), "dubbing", unit="frame"):
        clock(1.0)
    err = capsys.readouterr().err
    assert "\r" not in err
    lines = err.splitlines()
    assert 10 < len(lines) < 30
    assert lines[0].startswith("dubbing: 5 of 3600 frames, 0%, 59:55 left, 1 a second")
    assert lines[-1] == "dubbing: 3600 frames in 1:00:00"


def test_a_stage_of_seconds_is_one_line_or_none(clock, capsys):
    for leave, said in ((True, "faces: 5 frames in 0:04\n"), (False, "")):
        for _ in Progress(iter(range(5)), "faces", unit="frame", total=7, leave=leave):
            clock(0.9)
        assert capsys.readouterr().err == said


def test_a_line_says_what_is_left_and_how_fast_it_goes(clock, capsys):
    with Progress(desc="s3fd", unit="B", total=80_000_000, initial=20_000_000) as bar:
        clock(10.0)
        bar.remark = "second mirror"
        bar.update(20_000_000)
        assert capsys.readouterr().err == "s3fd: 40.0 of 80.0 MB, 50%, 0:20 left, 2.0 a second, second mirror\n"


def test_an_error_leaves_no_line_that_says_it_is_done(capsys):
    with pytest.raises(ValueError, match="stop"):
        for _ in Progress(range(3), "dubbing"):
            raise ValueError("stop")
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_when_disabled(monkeypatch, clock, capsys):
    monkeypatch.setenv(progress.DISABLED, "1")
    for _ in Progress(range(100), "dubbing"):
        clock(1.0)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_bar_in_a_terminal_ends_full_whatever_was_estimated():
    import fcntl
    import pty
    import struct
    import termios

    program = (
        "import time; from utils import progress; progress.SHOWN_FROM = 0.1\n"
        "list(progress.Progress(range(7), 'soon over'))\n"
        "for _ in progress.Progress(iter(range(7)), 'dubbing', unit='frame', total=9): time.sleep(0.05)"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    subprocess.run([sys.executable, "-c", program], stderr=theirs, cwd=ROOT, check=True)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert "soon over" not in shown
    assert "100%" in shown.rstrip().split("\r")[-1]
    assert "7/7" in shown


@pytest.mark.parametrize("work", ["Progress(range(3), 'clips')", "doing('clips')"])
def test_long_silence_is_broken_and_a_script_that_waits_for_somebody_says_nothing(work):
    program = f"""
import sys, time
from types import SimpleNamespace
from utils import cli, progress
progress.SHOWN_FROM, progress.FIRST_LINE = 0.05, 0.3
def main(_):
    with progress.{work}:
        time.sleep(1)
    print("asked", file=sys.stderr)
    with progress.doing(progress.WAITS):
        time.sleep(1)
cli.run(main, lambda _: SimpleNamespace())
"""
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    before, after = said.split("asked\n")
    assert 1 <= before.count("clips") == len(before.splitlines()) <= 4
    assert after == ""
