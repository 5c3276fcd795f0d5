"""The first cases of the campaign of faults (`make campaign`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")
def test_the_first_cases_of_the_campaign():
    command = [sys.executable, "-m", "tests.faults", "--cases", "12"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
