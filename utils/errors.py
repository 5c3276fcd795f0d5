"""The one error that users are shown, and warnings."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""


@contextmanager
def flag_named(flag: str) -> Iterator[None]:
    """Within the block an InputError that begins with a file begins with the flag that gave the file."""
    try:
        yield
    except InputError as error:
        raise (error if str(error).startswith("--") else InputError(f"{flag} {error}")) from error


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Advice on a name that is unknown: the known one that it is most like, or else where all are listed."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"is it {near[0]}?" if near else otherwise


def warn(text: str) -> None:
    """Say on stderr what is not as asked, while the work goes on."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
