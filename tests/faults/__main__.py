"""A campaign of faults: kills, full disks, damaged files, odd names, two at once, closed streams. POSIX.

    python -m tests.faults --cases 300 --out docs/reliability.md   # as `make campaign CASES=300`
    python -m tests.faults --only 41 57                            # these, by their numbers, which are their seeds

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
