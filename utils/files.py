"""Reading and writing files: every file that the project writes goes through atomic_write, whole or not at all."""

import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from utils.errors import InputError, warn

WEB_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.IGNORECASE)  # as a path; a drive has one letter
BLOCK = 1 << 20  # bytes
LOCK, LOCK_OWNER = ".lock", ".lock_owner"  # in a folder that one process works in, and which process that is
PART = re.compile(r"\.wav2lip-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part(\..*)?")  # temporary names
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # errors of writing that may name no file
LONGEST_SUFFIX, DAY = 16, 24 * 3600  # characters, seconds
CACHE_FOLDER = "WAV2LIP_CACHE"  # environment variable that names another folder than the user's
_UNFINISHED: set[Path] = set()  # what delete_unfinished() deletes


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same suffix, to write to in the block. When it ends without an error,
    the file is on disk and is renamed to `path`; after an error it is deleted. Where another program has `path` open
    (Windows), the finished file stays under a second name and InputError says so."""
    with atomic_writes(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_writes(*paths: Path) -> Iterator[list[Path]]:
    """atomic_write() of files that belong together: they are renamed right after each other, once all are on disk."""
    with ExitStack() as held:
        temporaries: list[Path] = []
        try:
            for path in paths:
                made = _temporary(path.parent, Path.touch, path.suffix[:LONGEST_SUFFIX])
                temporaries.append(held.enter_context(made))
            modes = [path.stat().st_mode for path in temporaries]  # as the umask says; safetensors writes 600
            yield temporaries
            for temporary, mode in zip(temporaries, modes, strict=True):
                temporary.chmod(mode)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            for temporary, path in zip(temporaries, paths, strict=True):
                _replace(temporary, path)
        except OSError as error:  # of a temporary file, or of none that it names
            names = [str(temporary) for temporary in temporaries]
            if error.filename in names:
                path = paths[names.index(error.filename)]
            elif len(names) < len(paths):
                path = paths[len(names)]
            elif error.filename or error.errno not in FULL:
                raise
            raise OSError(error.errno, error.strerror, str(path)) from error


def temporary_folder(parent: Path) -> AbstractContextManager[Path]:
    """A new folder below `parent`, deleted with its content when the block ends, unless it has been renamed."""
    return _temporary(parent, Path.mkdir)


@contextmanager
def _temporary(folder: Path, make: Callable[[Path], None], suffix: str = "") -> Iterator[Path]:
    """A file or folder with a new name, which is short whatever its final one, in a folder whose leftovers are deleted
    first; it is deleted when the block ends, unless it has been renamed."""
    delete_leftovers(folder)
    path = folder / f".wav2lip-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part{suffix}"
    _UNFINISHED.add(path)
    try:
        make(path)
        yield path
    finally:
        _delete(path)  # on Windows a file may be in use; the next start deletes it
        _UNFINISHED.discard(path)


def delete_unfinished() -> None:
    """Delete what this process has not finished writing."""
    for path in list(_UNFINISHED):
        _delete(path)


@cache
def delete_leftovers(folder: Path) -> None:
    """Delete what killed processes left in a folder: those of this machine at once, those of others after a day."""
    with suppress(OSError), os.scandir(folder) as entries:
        for match in filter(None, (PART.fullmatch(entry.name) for entry in entries)):
            path = folder / match[0]
            here = match["machine"] == _machine() and os.name == "posix"
            if not _runs(int(match["process"])) if here else time.time() - path.stat().st_mtime > DAY:
                _delete(path)


@cache
def _machine() -> str:
    """Identifies the machine, or container, since its last start: a process number is unique within it."""
    words = [platform.node()]
    with suppress(OSError):  # Linux
        words += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return f"{zlib.crc32(repr(words).encode()):08x}"


def _runs(process: int) -> bool:
    try:
        with suppress(PermissionError):  # another user's
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _delete(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


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
    """In UTF-8; names of files in other encodings keep their bytes."""
    write_bytes(path, text.encode(errors=sys.getfilesystemencodeerrors()))


def write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(path, (text if is_text(text) else json.dumps(content, indent=1)) + "\n")


def is_text(name: str) -> bool:
    """Whether UTF-8 can encode it; names of files may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_json(text: str | bytes) -> Any:
    """json.loads, except that every error is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets are nested too deeply") from error


def read_json(path: Path, advice: str = "delete it", kind: type = dict) -> Any:
    """The content of a JSON file of this project. Raises InputError with the advice where it is of another kind."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); {advice}") from error
    if not isinstance(content, kind):
        raise InputError(f"{path}: is damaged (holds a {type(content).__name__}); {advice}")
    return content


def devnull() -> TextIO:
    """A stream that discards what is printed, also names of files that no encoding has."""
    return Path(os.devnull).open("w", encoding="utf-8", errors="replace")


def system_name(path: Path | str) -> str | bytes:
    """The name for libraries that accept text only in UTF-8, and bytes."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def existing_file(path: Path, flag: str = "") -> Path:
    """The path, if it is a file. Else InputError, which names the flag that gave it."""
    name = f"{flag} {path}".strip()
    if address := WEB_ADDRESS.match(path.as_posix()):
        shown = f"{flag} {address[1]}://{address[2]}".strip()
        raise InputError(f"{shown}: is a web address; download the file first and give its path")
    try:
        if path.is_dir():
            raise InputError(f"{name}: is a folder, not a file")
        if not path.is_file():  # devices and pipes may have no end
            raise InputError(f"{name}: {'is not a regular file' if path.exists() else 'no such file'}")
    except (OSError, ValueError) as error:  # a name that the system does not accept
        raise InputError(f"{name}: cannot be opened ({_reason(error)})") from error
    return path


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def creatable(path: Path, flag: str) -> Path:
    """The path. Raises InputError for a name that the system does not accept."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"{flag} {path}: cannot be written ({_reason(error)}); give another name") from error
    return path


def writable_folder(folder: Path, flag: str) -> Path:
    """The folder, made where it is missing. Raises InputError, before any long work, where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise InputError(f"{flag} {folder}: cannot write there ({_reason(error)}); give another folder") from error
    delete_leftovers(folder)
    return folder


@contextmanager
def exclusive_lock(folder: Path, flag: str) -> Iterator[None]:
    """Lock the folder within the block: another process that tries gets an InputError that names this one. The system
    releases the lock when the process ends, however it ends. flag: the flag that gave the folder."""
    from filelock import FileLock, Timeout

    writable_folder(folder, flag)
    lock, owner = FileLock(folder / LOCK, timeout=0), folder / LOCK_OWNER
    try:
        lock.acquire()
    except Timeout as error:
        other = owner.read_text(encoding="utf-8", errors="replace") if owner.exists() else "another process"
        raise InputError(f"{flag} {folder}: in use by {other}; wait until it ends, or give another folder") from error
    except NotImplementedError:  # some network file systems
        warn(f"{flag} {folder}: cannot be locked on this file system; let no second process work there")
    try:
        process = f"process {os.getpid()} on {platform.node()}"
        owner.write_text(f"{Path(sys.argv[0]).name}, {process}, since {time.strftime('%d %b %H:%M')}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def keep_newest(folder: Path, size: int) -> None:
    """Delete the files of a folder that were used longest ago, until the others have at most `size` bytes."""
    with suppress(OSError):  # another process may do the same
        files = [(state.st_mtime, state.st_size, path) for path in folder.iterdir() if (state := path.stat())]
        for _, used, path in sorted(files, reverse=True):
            size -= used
            if size < 0:
                path.unlink()


def folders_below(root: Path) -> Iterator[Path]:
    """root and every folder below it, once each. In every folder links to others are followed last, so that a folder is
    listed under its own path rather than a link's; a loop of links ends."""
    seen: set[Path] = set()
    for name, inner, _ in os.walk(root, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:
            inner.clear()
            continue
        seen.add(folder.resolve())
        links = {child for child in inner if (folder / child).is_symlink()}
        inner[:] = sorted(set(inner) - links) + sorted(links)
        yield folder


def read_table(path: Path, flag: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a list that people write, JSON or CSV as any spreadsheet program saves it, by the names of its
    columns in lower case; values of a CSV file are texts. Empty rows are left out.

    flag: what the list was given by; needed: columns that there must be. Raises InputError where the file cannot be
    read as such a list.
    """
    name = f"{flag} {existing_file(path, flag)}"
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        rows = parse_json(text) if path.suffix.lower() == ".json" else _csv_rows(text, name, needed)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{name}: cannot be read ({error}); save it as CSV or JSON in UTF-8") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name}: give rows under a line of names, or a JSON list of objects")
    return rows


def _csv_rows(text: str, name: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    if text[:4].lower() == "sep=":  # a line that tells some programs the separator
        text = text.partition("\n")[2]
    first_line = text.partition("\n")[0]
    separator = max(",;\t|", key=first_line.count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, restval="")
    table.fieldnames = names = [column.strip().lower() for column in table.fieldnames or ()]
    if missing := [column for column in needed if column not in names]:
        found = f"has the columns {', '.join(filter(None, names))}" if any(names) else "is empty"
        raise InputError(f"{name}: {found}; add {' and '.join(missing)} to the first line")
    if twice := [column for column in names if column and names.count(column) > 1]:
        raise InputError(f"{name}: has two columns called {twice[0]}")
    rows = []
    for line in table:
        surplus = [*(line.pop(None, None) or ()), line.pop("", "")]  # values beyond the names, or below an empty one
        if any(cell.strip() for cell in surplus):
            raise InputError(f"{name}: line {table.line_num} has more values than the first line has names")
        if any(cell.strip() for cell in line.values()):
            rows.append({column: cell.strip() for column, cell in line.items()})
    return rows


def failed_download(path: Path) -> str:
    """What was saved instead of a file of weights, as its first bytes show; else nothing."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "a web page" if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")) else ""


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder(kind: str) -> Path:
    """The folder of one kind of results that later runs use again; it need not exist yet."""
    import platformdirs

    return Path(os.environ.get(CACHE_FOLDER) or platformdirs.user_cache_dir("wav2lip", appauthor=False)) / kind
