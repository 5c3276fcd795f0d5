"""The command line of every script: its flags, its streams, how it ends, and commands for people to copy.

Exit codes: 0 done; 1 done, but something was skipped; 2 bad input; 130 interrupted by Ctrl-C, SIGTERM or a closed
terminal.
"""

import argparse
import errno
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import UNPRINTABLE, format_error, is_expected
from utils.files import delete_unfinished, devnull
from utils.process import INTERRUPTED, Interrupts, end_with_stdin
from utils.settings import Options, OptionsParser, add_flags, grouped


def parser_for(description: str | None, *options_classes: type[Options]) -> argparse.ArgumentParser:
    """A parser with a flag for every setting, those used most first, and the flags of every script last. A wrong
    argument raises InputError."""
    usage = "%(prog)s [--flag value ...]" if options_classes else None
    formatter = argparse.RawDescriptionHelpFormatter
    parser = OptionsParser(usage=usage, description=description, formatter_class=formatter, add_help=False)
    groups = grouped(*options_classes)
    for name, settings in groups.items():
        add_flags(parser.add_argument_group(f"{name} settings"), settings)
    add = parser.add_argument_group("how it is run").add_argument
    if any(setting.metadata["weights"] for settings in groups.values() for setting in settings):
        add("--yes", action="store_true", help="download published weights that are named but missing")
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

    Expected errors (utils/errors.py) become one line on stderr and code 2, with --debug a traceback. Import slow
    packages in main: --help does not wait for them then, and Ctrl-C and a missing package are one line there, too.
    SIGTERM, which service managers and batch schedulers send, and SIGHUP do what Ctrl-C does (utils/process.py).
    """
    stdout = _forgiving_streams()
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    interrupts = Interrupts()
    interrupts.install()
    end_with_stdin()
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
        print("interrupted" if interrupted else f"error: {format_error(error)}", file=sys.stderr)
        code = INTERRUPTED if interrupted else 2
    finally:
        if arguments is not None:  # this process continues
            interrupts.restore()
    if arguments is None:
        interrupts.finish(code)
    sys.exit(code)


@contextmanager
def _printing(args: argparse.Namespace) -> Iterator[None]:
    """Within the block print() prints nothing with --quiet, which shows no progress either, and on stderr with --json;
    args.stdout is where the result goes then."""
    args.stdout = sys.stdout
    with ExitStack() as held:
        if getattr(args, "quiet", False):
            held.enter_context(redirect_stdout(held.enter_context(devnull())))
            os.environ["TQDM_DISABLE"] = "1"
            held.callback(os.environ.pop, "TQDM_DISABLE", None)
        elif getattr(args, "json", False):
            held.enter_context(redirect_stdout(sys.stderr))
        from utils.progress import signs_of_life  # needs tqdm; whether that is installed, run() finds out

        held.enter_context(signs_of_life(f"{Path(sys.argv[0]).name} is running"))
        yield


class _Forgiving(io.FileIO):
    """A standard stream that drops what cannot be written, as on a full disk or to a closed terminal."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)
        except OSError as error:
            self.lost = error
            return len(data)


def _forgiving_streams() -> _Forgiving | None:
    """Let stdout and stderr take whatever is printed: streams that are closed or full, or cannot encode a name, must
    not end a run. Returns the stream below stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # the number would be given to the next file that is opened, and written to
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, devnull())
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
