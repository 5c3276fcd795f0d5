"""Files of the page's visitors: every session has a folder of its own, named after nothing that a visitor wrote.

<root>/sessions/<digest of the session's key>/<job>/face.mp4, speech.wav, dub.mp4, ...

A session's key is random and known to its browser alone. A job's name is random, too; who knows it may see its results.
Trainings belong to everybody who sees the page:

<root>/runs/<digest of the videos' folder>/index.html, preprocessed/report.html, generator/summary.html, ...
"""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import InputError
from utils.files import atomic_write

KEY = re.compile(r"[A-Za-z0-9_-]{22,64}")
JOB = re.compile(r"[0-9a-f]{32}")
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)+")  # of files that the page itself named
RUN = re.compile(r"[0-9a-f]{16}")
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # of a path within a run
SHOWN = {".html", ".png", ".jpg", ".mp4", ".json"}  # what of a run can be looked at
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")


class NotThere(InputError):
    """What was asked for is no file of a job."""


def new_key() -> str:
    """Of a session."""
    return secrets.token_urlsafe(24)


@contextmanager
def _on_disk() -> Iterator[None]:
    """Says without the server's paths that something cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"the server cannot keep the file: {error.strerror}") from error


class SessionFiles:
    """root: the folder of all sessions; uploads: where Gradio puts what a browser sends."""

    def __init__(self, root: Path, uploads: Path) -> None:
        self.root, self.uploads = root.resolve() / "sessions", uploads.resolve()
        self.runs = root.resolve() / "runs"
        self.root.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(parents=True, exist_ok=True)

    def new_job(self, key: str) -> Path:
        """An empty folder for a job of this session. Raises InputError for what is no key."""
        if not KEY.fullmatch(key):
            raise InputError("this page has lost its session; load it again")
        folder = self.root / hashlib.sha256(key.encode()).hexdigest()[:32] / secrets.token_hex(16)
        with _on_disk():
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
        with _on_disk(), atomic_write(target) as part:
            shutil.copyfile(path, part)
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

    def run_folder(self, videos: Path) -> Path:
        """Where the training on a folder of videos keeps all it makes."""
        return self.runs / hashlib.sha256(str(videos.resolve()).encode()).hexdigest()[:16]

    def of_run(self, run: str, path: str) -> Path:
        """A file of a run, by the names that an address has. Raises NotThere."""
        parts = path.split("/")
        if not RUN.fullmatch(run) or not all(map(PART.fullmatch, parts)):
            raise NotThere("no such file")
        folder = self.runs / run
        file = folder.joinpath(*parts)
        if file.suffix not in SHOWN or not file.is_file() or file.resolve() != file:
            raise NotThere("no such file")
        return file

    def delete_old(self, hours: float, used: set[str]) -> None:
        """Delete jobs' folders and uploads that are older; used: jobs that still need theirs."""
        before = time.time() - 3600 * hours
        for folder in self.root.glob("*/*"):
            if folder.name not in used and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
        for session in self.root.iterdir():
            if session.is_dir() and not any(session.iterdir()):
                with suppress(OSError):  # a new job has come into it
                    session.rmdir()
        for upload in self.uploads.iterdir():  # folders of whole ones, and files of those that were broken off
            if upload.stat().st_mtime < before:
                shutil.rmtree(upload, ignore_errors=True) if upload.is_dir() else upload.unlink(missing_ok=True)
