"""Files that are whole or not there: every file the project writes goes through atomic_write."""

import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.errors import InputError, warn
from utils.progress import Progress

WEB_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.IGNORECASE)  # as a path; a drive has one letter
BLOCK = 1 << 20  # bytes
LOCK = ".lock"  # in a folder that one process works in


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, to be written in the block.

    When the block ends without an error it is on disk under the name `path`; after an error nothing is left of it.
    Where `path` cannot be replaced because another program has it open (Windows), the finished file stays under a
    second name and InputError says so.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask says, which some libraries do not go by (safetensors: 600)
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _replace(temporary, path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # else it names no file, or the temporary one
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except PermissionError as error:
        second = path.with_name(f"{path.stem}.{secrets.token_hex(4)}{path.suffix}")
        os.replace(temporary, second)
        raise InputError(f"{path}: is open in another program; the new file is {second}") from error


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def existing_file(path: Path, flag: str = "") -> Path:
    """The path, where a file is. Raises InputError for what is none, naming the flag that it was given by."""
    name = f"{flag} {path}".strip()
    if address := WEB_ADDRESS.match(path.as_posix()):
        shown = f"{flag} {address[1]}://{address[2]}".strip()
        raise InputError(f"{shown}: is a web address; download the file first and give its path")
    if path.is_dir():
        raise InputError(f"{name}: is a folder, not a file")
    if not path.is_file():
        raise InputError(f"{name}: no such file")
    return path


def writable_folder(folder: Path, flag: str) -> Path:
    """Make the folder and prove that files can be written there, before any long work starts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{flag} {folder}: cannot write there ({error.strerror}); give another folder") from error
    return folder


@contextmanager
def only_user(folder: Path, flag: str) -> Iterator[None]:
    """Within the block no other process can enter one for this folder: it gets InputError. The system ends the claim
    with the process, however that ends. flag: what the folder was given by."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{flag} {folder}: another process works there; wait till it ends, or give another") from error
    except NotImplementedError:  # some network file systems
        warn(f"{flag} {folder}: cannot be locked on this file system; let no second process work there")
    try:
        yield
    finally:
        lock.release()


def folders_below(root: Path) -> Iterator[Path]:
    """root and every folder below it, once each: links to folders are followed after all that lies there itself, so
    that a folder goes by its own path rather than by a link's, and a loop of links ends."""
    seen: set[Path] = set()
    starts = deque([root])
    while starts:
        for name, inner, _ in os.walk(starts.popleft()):
            folder = Path(name)
            if folder.resolve() in seen:
                inner.clear()
                continue
            seen.add(folder.resolve())
            yield folder
            inner.sort()
            starts.extend(folder / child for child in inner if (folder / child).is_symlink())


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits; shows progress."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file, Progress(desc=path.name, unit="B", total=size, leave=False) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
