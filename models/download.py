"""Published weight files into their places: downloaded, imported, verified; and weight files that options name."""

import http.client
import os
import shutil
import urllib.parse
import urllib.request
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TypeVar

from models.published import BROWSER_PAGE, BUNDLED_EXPERT, ROOT, PublishedFile, all_files, published
from utils.errors import InputError
from utils.files import BLOCK, atomic_write, existing_file, failed_download, sha256, writable_folder
from utils.options import Options

OptionsType = TypeVar("OptionsType", bound=Options)

TIMEOUT = 30  # seconds without an answer


def fetch(file: PublishedFile) -> None:
    """Download a file to its place from the first mirror that has it; nothing unverified gets the final name."""
    found = state(file)
    if found == "there":
        print(f"{file.name}: {file.file} exists already")
        return
    if found != "missing":
        raise InputError(f"{file.name}: {file.file} is {found}; delete it, then fetch again")
    if not file.mirrors:
        raise InputError(f"{file.name}: {_how_to_get(file)}")
    writable_folder(file.path.parent, file.name)
    problems = []
    for address in file.mirrors:
        try:
            _download(address, file)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            problems.append(f"{urllib.parse.urlsplit(address).hostname}: {reason}")
        else:
            print(f"{file.name}: {file.file}, verified")
            return
    raise InputError(
        f"{file.name}: {'; '.join(problems)}; download {file.mirrors[0]} elsewhere, then run "
        f"`python weights.py import FILE` or put it at {file.file}"
    )


def _download(address: str, file: PublishedFile) -> None:
    if address.startswith(BROWSER_PAGE):
        raise ValueError("must be downloaded with a browser")
    from utils.progress import Progress  # needs tqdm, which `weights.py --help` does without

    with atomic_write(file.path) as temporary, urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        with temporary.open("wb") as out, Progress(desc=file.name, unit="B", total=file.size) as progress:
            while block := response.read(BLOCK):
                out.write(block)
                progress.update(len(block))
        if sha256(temporary) != file.sha256:
            raise ValueError("serves another file, or the connection broke off")


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
    wrong = [file for file in present if state(file) != "there" or sha256(file.path) != file.sha256]
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
        if not setting.metadata["weights"] or value is None:
            continue
        otherwise = "" if setting.default is MISSING else ", or leave the flag out"
        paths = value if isinstance(value, tuple) else (value,)
        there = tuple(_ensured(path, f"--{setting.name}", fetch_missing, otherwise) for path in paths)
        changes[setting.name] = there if isinstance(value, tuple) else there[0]
    if getattr(options, "face_detector", "") == "sfd":
        _ensured(published("s3fd").path, "--face_detector sfd:", fetch_missing, ", or use retinaface")
    return replace(options, **changes)


def _ensured(path: Path, flag: str, fetch_missing: bool, otherwise: str) -> Path:
    """otherwise: what else can be done where a published file is missing."""
    file = _of_name(path)
    if path.exists() or file is None:
        return existing_file(path, flag)
    if file.path.exists():
        return file.path
    if fetch_missing and file.fetchable and os.environ.get("WORLD_SIZE", "1") == "1":  # not each process of torchrun
        fetch(file)
        return file.path
    if not otherwise and "expert" in file.name:
        otherwise = f", or give {BUNDLED_EXPERT.relative_to(ROOT).as_posix()}"
    raise InputError(f"{flag} {path}: no such file; {_how_to_get(file)}{otherwise if file.mirrors else ''}")


def _of_name(path: Path) -> PublishedFile | None:
    """The published or bundled file of this name, wherever it was looked for."""
    return next((file for file in all_files() if file.path.name.lower() == path.name.lower()), None)


def _how_to_get(file: PublishedFile) -> str:
    if not file.mirrors:
        return f"it comes with the project, `git checkout {file.file}` brings it back"
    if not file.fetchable:
        return f"download it from {file.mirrors[0]} with a browser, then run `python weights.py import FILE`"
    return f"`python weights.py fetch {file.name}` gets it ({file.size / 1e6:.0f} MB, as {file.file})"
