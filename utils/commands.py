"""Commands that people copy from the terminal or a page."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # of what names of files may hold


def command(script: str, **flags: str | Path | float | None) -> str:
    """`python script --flag value ...`, quoted for this system's shell; a flag whose value is None is left out."""
    words = ["python", script]
    for name, value in flags.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return quoted(words)


def quoted(words: Sequence[str]) -> str:
    """Words as one line for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not UNPRINTABLE.search(word):
        return shlex.quote(word)
    plain = set(range(0x20, 0x7F)) - set(b"'\\")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(word)) + "'"
