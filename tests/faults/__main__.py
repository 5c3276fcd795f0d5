"""A campaign of faults: kills, full disks, damaged files, two at once. POSIX.

    python -m tests.faults --cases 300    # as `make campaign CASES=300`; docs/reliability.md has what comes of it
    python -m tests.faults --only 41 57   # these, by their numbers, which are their seeds

Exit code 1: a case is not right.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]
os.environ["OMP_NUM_THREADS"] = "1"  # no thread of PyTorch may be running at a fork

if __name__ == "__main__":  # workers of trainings import this, and nothing more
    sys.exit(importlib.import_module("campaign").main(__doc__))
