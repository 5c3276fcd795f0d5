"""Files of the page's visitors: every session has a folder of its own, named after nothing that a visitor wrote.

<root>/sessions/<digest of the session's key>/<job>/face.mp4, speech.wav, dub.mp4, ...

A session's key is random and known to its browser alone. A job's name is random, too; who knows it may see its results.
"""

import hashlib
import re
import secrets
import shutil
import time
from pathlib import Path

from utils.errors import InputError

KEY = re.compile(r"[A-Za-z0-9_-]{22,64}")
JOB = re.compile(r"[0-9a-f]{32}")
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)+")  # of files that the page itself named
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")


class NotThere(InputError):
    """What was asked for is no file of a job."""


def new_key() -> str:
    """Of a session."""
    return secrets.token_urlsafe(24)


class SessionFiles:
    """root: the folder of all sessions; uploads: where Gradio puts what a browser sends."""

    def __init__(self, root: Path, uploads: Path) -> None:
        self.root, self.uploads = root.resolve() / "sessions", uploads.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(parents=True, exist_ok=True)

    def new_job(self, key: str) -> Path:
        """An empty folder for a job of this session. Raises InputError for what is no key."""
        if not KEY.fullmatch(key):
            raise InputError("this page has lost its session; load it again")
        folder = self.root / hashlib.sha256(key.encode()).hexdigest()[:32] / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

    def take(self, upload: str | Path, folder: Path, name: str) -> Path:
        """A copy of an uploaded file in the job's folder, under `name` and its own suffix.

        Raises InputError for a path that no upload has: one elsewhere, through "..", or through a link.
        """
        path = Path(upload)
        inside = path.is_absolute() and path == path.resolve() and path.is_relative_to(self.uploads)
        if not inside or not path.is_file():
            raise InputError(f"{path.name}: is no uploaded file; upload it again")
        suffix = path.suffix.lower() if SUFFIX.fullmatch(path.suffix) else ""
        target = folder / f"{name}{suffix}"
        shutil.copyfile(path, target)
        return target

    def result(self, job: str, name: str) -> Path:
        """A file of a job, by the names that an address has. Raises NotThere."""
        if not (JOB.fullmatch(job) and NAME.fullmatch(name)):
            raise NotThere("no such file")
        for folder in self.root.glob(f"*/{job}"):
            path = folder / name
            if path.is_file() and not path.is_symlink():
                return path
        raise NotThere("no such file")

    def delete_old(self, hours: float, used: set[str]) -> None:
        """Delete jobs' folders and uploads that are older; used: jobs that still need theirs."""
        before = time.time() - 3600 * hours
        for folder in self.root.glob("*/*"):
            if folder.name not in used and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
        for session in self.root.iterdir():
            if session.is_dir() and not any(session.iterdir()):
                session.rmdir()
        for folder in self.uploads.iterdir():
            if folder.is_dir() and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
