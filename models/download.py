"""Published weight files into their places: downloaded, imported, verified; and weight files that options name."""

import http.client
import os
import shutil
import socket
import sys
import urllib.parse
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import TypeVar

from models.published import BROWSER_PAGE, BUNDLED_EXPERT, ROOT, PublishedFile, all_files, published
from utils.errors import InputError
from utils.files import atomic_write, existing_file, failed_download, sha256, writable_folder
from utils.options import Options

OptionsType = TypeVar("OptionsType", bound=Options)

TIMEOUT = 30  # seconds without an answer


def fetch(file: PublishedFile) -> None:
    """Download a file to its place from the first mirror that has it; nothing unverified gets the final name."""
    if (found := state(file)) == "there":
        print(f"{file.name}: {file.file} exists already")
        return
    if found != "missing":
        raise InputError(f"{file.name}: {file.file} is {found}; delete it, then fetch again")
    if not file.mirrors:
        raise InputError(f"{file.name}: comes with the project; `git checkout {file.file}` brings it back")
    writable_folder(file.path.parent, file.name)
    problems = []
    for address in file.mirrors:
        if problem := _download(address, file):
            problems.append(problem)
        else:
            print(f"{file.name}: {file.file}, verified")
            return
    raise InputError(
        f"{file.name}: {'; '.join(problems)}; download {file.mirrors[0]} elsewhere, then run "
        f"`python weights.py import FILE` or put it at {file.file}"
    )


def _download(address: str, file: PublishedFile) -> str:
    """Download a file from one mirror; returns what went wrong, if anything."""
    if address.startswith(BROWSER_PAGE):
        return "must be downloaded with a browser"
    from torch import hub  # takes seconds to import, which `weights.py list` does without

    host, before = urllib.parse.urlsplit(address).hostname, socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with atomic_write(file.path) as temporary:
            hub.download_url_to_file(address, str(temporary), file.sha256, progress=sys.stderr.isatty())
    except RuntimeError:  # another SHA-256
        return f"{host}: serves another file, or the connection broke off"
    except (OSError, http.client.HTTPException) as error:
        return f"{host}: {getattr(error, 'reason', None) or error or type(error).__name__}"
    finally:
        socket.setdefaulttimeout(before)
    return ""


def import_file(source: Path) -> None:
    """Copy a file that turns out to be a published or bundled one to its place."""
    digest = sha256(existing_file(source))
    file = next((file for file in all_files() if file.sha256 == digest), None)
    if file is None:
        raise InputError(f"{source}: {_why_not_published(source)}")
    writable_folder(file.path.parent, file.name)
    with atomic_write(file.path) as temporary:
        shutil.copyfile(source, temporary)
    print(f"{file.name}: {file.file}, verified")


def _why_not_published(path: Path) -> str:
    """What to do with a file that is none of the published ones."""
    if kind := failed_download(path):
        return f"is {kind}, not the weights; download the file itself"
    file, size = _of_name(path), path.stat().st_size
    if file and size < file.size:
        return f"is truncated, or is not {file.name}: {size:,} of {file.size:,} bytes; download it again"
    return "is none of the published files byte for byte; other weights need no import, give their path to the scripts"


def state(file: PublishedFile) -> str:
    """there (by its size alone, which takes no time), missing, or what else is in the file's place."""
    if not file.path.exists():
        return "missing"
    size = file.path.stat().st_size
    return "there" if size == file.size else f"not it ({_difference(file)}, {size:,} bytes)"


def _difference(file: PublishedFile) -> str:
    return failed_download(file.path) or "another file, or a part of it"


def verify() -> int:
    """Check every published or bundled file that is there; returns how many are. Raises InputError naming those that
    differ."""
    present = [file for file in all_files() if file.path.exists()]
    wrong = [file for file in present if file.path.stat().st_size != file.size or sha256(file.path) != file.sha256]
    if wrong:
        names = ", ".join(f"{file.file} ({_difference(file)})" for file in wrong)
        sources = {"`python weights.py fetch`" if file.mirrors else "`git checkout`" for file in wrong}
        raise InputError(
            f"not as published: {names}; delete them and get them again with {' or '.join(sorted(sources))}"
        )
    return len(present)


def ensure_weights(options: OptionsType, fetch_missing: bool = False) -> OptionsType:
    """The options, once every weight file that they name is there. A published file that is missing is used from its
    place, and with fetch_missing downloaded to it. Raises InputError, which says how to get the file, for any other."""
    changes = {}
    for setting in fields(options):
        value = getattr(options, setting.name)
        if setting.metadata["weights"] and value is not None:
            several = isinstance(value, tuple)
            there = tuple(_ensured(path, setting, fetch_missing) for path in (value if several else (value,)))
            changes[setting.name] = there if several else there[0]
    if getattr(options, "face_detector", "") == "sfd":
        _ensure_detector(fetch_missing)
    return replace(options, **changes)


def _ensure_detector(fetch_missing: bool) -> None:
    file = published("s3fd")
    if file.path.exists():
        return
    if not (fetch_missing and _one_process()):
        raise InputError(f"--face_detector sfd: its weights are missing; {_how_to_get(file)}, or use retinaface")
    fetch(file)


def _ensured(path: Path, setting: Field, fetch_missing: bool) -> Path:
    flag, file = f"--{setting.name}", _of_name(path)
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a folder; give a weight file in it")
    if path.exists() or file is None:
        return existing_file(path, flag)
    if file.path.exists():
        return file.path
    if fetch_missing and file.fetchable and _one_process():
        fetch(file)
        return file.path
    otherwise = ", or leave the flag out"
    if setting.default is MISSING:
        otherwise = f", or give {BUNDLED_EXPERT.relative_to(ROOT).as_posix()}" if "expert" in file.name else ""
    raise InputError(f"{flag} {path}: no such file; {_how_to_get(file)}{otherwise if file.mirrors else ''}")


def _one_process() -> bool:
    """False under torchrun, whose processes would fetch the same file at once."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def _of_name(path: Path) -> PublishedFile | None:
    """The published or bundled file of this name, wherever it was looked for."""
    return next((file for file in all_files() if file.path.name.lower() == path.name.lower()), None)


def _how_to_get(file: PublishedFile) -> str:
    if not file.mirrors:
        return f"it comes with the project, `git checkout {file.file}` brings it back"
    if not file.fetchable:
        return f"download it from {file.mirrors[0]} with a browser, then run `python weights.py import FILE`"
    return f"`python weights.py fetch {file.name}` gets it ({file.size / 1e6:.0f} MB, as {file.file})"
