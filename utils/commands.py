"""Commands that people copy from the terminal or a page."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path


def command(script: str, **flags: str | Path | float | None) -> str:
    """`python script --flag value ...`, quoted for this system's shell; a flag whose value is None is left out."""
    words = ["python", script]
    for name, value in flags.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return quoted(words)


def quoted(words: Sequence[str]) -> str:
    """Words as one line for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
