"""The one error that users are shown, and warnings."""

import difflib
import sys
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Advice on a name that is unknown: the known one that it is most like, or else where all are listed."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"is it {near[0]}?" if near else otherwise


def warn(text: str) -> None:
    """Say on stderr what is not as asked, while the work goes on."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
