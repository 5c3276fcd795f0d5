"""Weight files that were named but are not there: fetched where the user agrees, else what to do about it.

Nothing here needs PyTorch, so that it is settled before anything is imported that does.
"""

import os
import sys
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import TypeVar

from models.published import BUNDLED_EXPERT, ROOT, PublishedFile, all_files, published
from utils.errors import InputError
from utils.files import existing_file
from utils.options import Options

OptionsType = TypeVar("OptionsType", bound=Options)


def with_weights(options: OptionsType, yes: bool = False) -> OptionsType:
    """The options, once every weight file that they name is there. A published one that is missing is fetched, with
    `yes` at once, in a terminal when the user agrees, and used from its place. Raises InputError for any other."""
    changes = {}
    for setting in fields(options):
        value = getattr(options, setting.name)
        if not setting.metadata["weights"] or value is None:
            continue
        several = isinstance(value, tuple)
        there = tuple(_there(path, setting, yes) for path in (value if several else (value,)))
        changes[setting.name] = there if several else there[0]
    if getattr(options, "face_detector", "") == "sfd":
        _detector_there(yes)
    return replace(options, **changes)


def check_weights(options: Options) -> None:
    """Raise InputError where a weight file that the options name is not there; nobody is asked."""
    for setting in fields(options):
        value = getattr(options, setting.name)
        if setting.metadata["weights"] and isinstance(value, Path):
            if not value.exists():
                raise InputError(_advice(value, setting))
            existing_file(value, f"--{setting.name}")


def _there(path: Path, setting: Field, yes: bool) -> Path:
    if path.is_dir():
        raise InputError(f"--{setting.name} {path}: is a folder; give a weight file in it")
    if path.exists():
        return existing_file(path, f"--{setting.name}")
    file = _known(path)
    if file and (file.path.exists() or _may_fetch(file, f"--{setting.name} {path}", yes)):
        _fetch(file)
        return file.path
    raise InputError(_advice(path, setting))


def _detector_there(yes: bool) -> None:
    file = published("s3fd")
    if file.path.exists():
        return
    if not _may_fetch(file, "--face_detector sfd", yes):
        raise InputError(f"--face_detector sfd: its weights are missing; {_by_fetching(file)}, or use retinaface")
    _fetch(file)


def _fetch(file: PublishedFile) -> None:
    from models import download  # which comes with what speaks HTTP, a tenth of a second that most runs do without

    download.fetch(file)


def _known(path: Path) -> PublishedFile | None:
    """The published or bundled file of this name, wherever it was looked for."""
    return next((file for file in all_files() if file.path.name.lower() == path.name.lower()), None)


def _may_fetch(file: PublishedFile, missing: str, yes: bool) -> bool:
    """Whether to fetch it now: as the user said, or says in a terminal."""
    if not file.fetchable or int(os.environ.get("WORLD_SIZE", "1")) > 1:  # processes would fetch beside each other
        return False
    if yes or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return yes
    what = f"{file.size / 1e6:.0f} MB; {file.licence}"
    print(f"{missing}: missing. Fetch {file.name} now ({what})? [y/N] ", end="", file=sys.stderr, flush=True)
    from utils.progress import WAITING, doing

    with doing(WAITING):
        answer = sys.stdin.readline()
    return answer.strip().lower() in ("y", "yes")


def _advice(path: Path, setting: Field) -> str:
    """What is missing and what to do."""
    missing = f"--{setting.name} {path}: no such file"
    file = _known(path)
    if file is None:
        return missing
    if not file.mirrors:
        return f"{missing}; it comes with the project, `git checkout {file.file}` brings it back"
    otherwise = ", or leave the flag out"
    if setting.default is MISSING:
        otherwise = f", or give {BUNDLED_EXPERT.relative_to(ROOT).as_posix()}" if "expert" in file.name else ""
    return f"{missing}; {_by_fetching(file)}{otherwise}"


def _by_fetching(file: PublishedFile) -> str:
    if not file.fetchable:
        return f"download it from {file.mirrors[0]} with a browser, then run `python weights.py import FILE`"
    return f"`python weights.py fetch {file.name}` gets it ({file.size / 1e6:.0f} MB, as {file.file})"
