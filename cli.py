"""How the scripts talk to people: the flags they all take, the one line that an error is, the exit codes.

Exit codes: 0 done, 1 done but something was skipped, 2 bad input, 130 interrupted.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hparams", default="", metavar="NAME=VALUE,...", help="change values of hparams.py")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run(main: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> None:
    """Call main(args) and leave with its exit code; InputError and OSError become one line on stderr and code 2."""
    try:
        code = main(args) or 0
    except (InputError, OSError) as error:  # OSError: a full disk, no permission; its text names the file
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        if args.debug:
            raise
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def writable_folder(folder: Path, flag: str) -> Path:
    """Make the folder and prove that files can be written there, before any long work starts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{flag} {folder}: cannot write there ({error.strerror}); give another folder") from error
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 text file so that a crash leaves the old one or the new one, never half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
