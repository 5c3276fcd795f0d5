"""The one error that users are shown, and warnings."""

import sys


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""


def warn(text: str) -> None:
    """Say on stderr what is not as asked, while the work goes on."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
