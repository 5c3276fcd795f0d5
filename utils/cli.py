"""How the scripts talk to people: flags, the one line that an error is, the exit codes.

Exit codes: 0 done, 1 done but something was skipped, 2 bad input, 130 interrupted, by Ctrl-C or SIGTERM.
"""

import argparse
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils.errors import InputError
from utils.options import Options, add_flags


def parser_for(description: str | None, *options_classes: type[Options]) -> argparse.ArgumentParser:
    """A parser with a flag for every setting, and --debug."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for options_class in options_classes:
        add_flags(parser, options_class)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run(main: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> None:
    """Call main(args) and leave with its exit code; InputError and OSError become one line on stderr and code 2.
    SIGTERM, as service managers and batch schedulers send it, does what Ctrl-C does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a redirected stream cannot encode must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminated_as_interrupted():
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
