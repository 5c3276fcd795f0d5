"""What all tabs share: the server's settings, visitors' files, the queue of jobs, networks that are loaded, and which
weights and folders of videos there are to choose from.

    <folder>/sessions/<digest of a session's key>/<job>/face.mp4, speech.wav, dub.mp4, ...
    <folder>/runs/<digest of a folder of videos>/index.html, preprocessed/report.html, generator/summary.html, ...

A session's key is random and known to its browser alone. A job's name is random, too: who knows it may see its results.
Runs of trainings are shown to everybody.
"""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from media.files import is_video
from models.face_refiner import PERSON
from models.published import BUNDLED, PUBLISHED, ROOT
from utils.errors import InputError
from utils.files import atomic_write
from web.jobs import Control, Job, JobQueue, Work
from web.options import WebOptions

EVERYBODY = "everybody"  # owner of the jobs that all visitors share; no key of a session
KEY = re.compile(r"[A-Za-z0-9_-]{22,64}")
JOB = re.compile(r"[0-9a-f]{32}")
RUN = re.compile(r"[0-9a-f]{16}")
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9]+)+")  # of files that the page itself named
PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # of a path within a run
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
SHOWN_OF_RUNS = {".html", ".png", ".jpg", ".mp4", ".json"}
CHECKPOINTS = ROOT / "checkpoints"
BEST = "the best available"


class NotThere(InputError):
    """An address that leads to no file of a job or run."""


class SessionFiles:
    """root: the server's folder; uploads: where Gradio puts what a browser sends."""

    def __init__(self, root: Path, uploads: Path) -> None:
        self.sessions, self.runs, self.uploads = root.resolve() / "sessions", root.resolve() / "runs", uploads.resolve()
        self.sessions.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(parents=True, exist_ok=True)

    def new_job(self, key: str) -> Path:
        """An empty folder for a job of this session. Raises InputError for what is no key."""
        if not KEY.fullmatch(key):
            raise InputError("this page has lost its session; load it again")
        folder = self.sessions / hashlib.sha256(key.encode()).hexdigest()[:32] / secrets.token_hex(16)
        with _disk_errors():
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
        with _disk_errors(), atomic_write(target) as part:
            shutil.copyfile(path, part)
        return target

    def result(self, job: str, name: str) -> Path:
        """A file of a job by its address /jobs/<job>/<name>. Raises NotThere."""
        if JOB.fullmatch(job) and NAME.fullmatch(name):
            for folder in self.sessions.glob(f"*/{job}"):
                path = folder / name
                if path.is_file() and not path.is_symlink():
                    return path
        raise NotThere("no such file")

    def run_folder(self, videos: Path) -> Path:
        """Where the training on a folder of videos keeps all it makes."""
        return self.runs / hashlib.sha256(str(videos.resolve()).encode()).hexdigest()[:16]

    def of_run(self, run: str, path: str) -> Path:
        """A file of a run by its address /runs/<run>/<path>. Raises NotThere."""
        parts = path.split("/")
        if RUN.fullmatch(run) and all(map(PART.fullmatch, parts)):
            file = (self.runs / run).joinpath(*parts)
            if file.suffix in SHOWN_OF_RUNS and file.is_file() and file.resolve() == file:
                return file
        raise NotThere("no such file")

    def delete_old(self, hours: float, used: set[str]) -> None:
        """Delete jobs' folders and uploads that are older; used: jobs that still need theirs."""
        before = time.time() - 3600 * hours
        for folder in self.sessions.glob("*/*"):
            if folder.name not in used and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
        for session in self.sessions.iterdir():
            if session.is_dir() and not any(session.iterdir()):
                with suppress(OSError):  # a new job has come into it
                    session.rmdir()
        for upload in self.uploads.iterdir():  # folders of whole ones, and files of those that were broken off
            if upload.stat().st_mtime < before:
                shutil.rmtree(upload, ignore_errors=True) if upload.is_dir() else upload.unlink(missing_ok=True)


class Site:
    """One server: what its tabs work with."""

    def __init__(self, options: WebOptions, uploads: Path) -> None:
        self.options = options
        self.files = SessionFiles(options.folder, uploads)
        devices = [name.strip() for name in options.device.split(",") if name.strip()] or ["auto"]
        self.first_device = devices[0]
        self.queue = JobQueue(options.folder / "jobs.json", devices)
        self._dubbers: dict[str, Any] = {}  # by device

    def submit(self, key: str, kind: str, title: str, folder: Path, work: Work) -> Job:
        return self.queue.add(owner_of(key), kind, title, folder, work)

    def jobs(self, key: str) -> list[Job]:
        return self.queue.of(owner_of(key))

    def dubber(self, control: Control, options: Any) -> Any:
        """A dubbing.Dubber with the networks of the device's last dub, where they are the same."""
        from dubbing import Dubber  # imports PyTorch, which a page that is opened need not wait for

        last = self._dubbers.get(control.device)
        dubber = self._dubbers[control.device] = Dubber(options, last.networks if last else None)
        return dubber

    def video_folders(self) -> dict[str, Path]:
        """The folders in --train_root that hold videos, by their names."""
        root = self.options.train_root
        inner = sorted(path for path in root.iterdir() if path.is_dir()) if root else []
        return {path.name: path for path in inner if any(map(is_video, path.rglob("*")))}

    def generators(self) -> dict[str, str]:
        """Generators to choose from: label -> path, "" for what a dub takes by itself."""
        known = [file for file in (*PUBLISHED, *BUNDLED) if file.note.startswith("generator") and file.path.exists()]
        labelled = {f"{file.path.name} ({file.licence})": str(file.path) for file in known}
        return {BEST: ""} | labelled | self._trained("best.pth", "generator*/best.pth")

    def refiners(self) -> dict[str, str]:
        """Refiners to choose from: label -> what --refine takes."""
        return {"auto": "auto", "off": "off"} | self._trained(PERSON, f"refiner*/{PERSON}")

    def _trained(self, name: str, of_run: str) -> dict[str, str]:
        """Weights of this file name that trainings of the scripts and of the page have made, by a label."""
        paths = sorted(CHECKPOINTS.glob(f"**/{name}"))
        found = {path.relative_to(CHECKPOINTS).as_posix(): str(path) for path in paths}
        for person, videos in self.video_folders().items():
            paths = sorted(self.files.run_folder(videos).glob(of_run))
            found |= {f"{person}: {path.parent.name}": str(path) for path in paths}
        return found

    def clean(self) -> None:
        """Delete what is older than --keep_hours."""
        self.files.delete_old(self.options.keep_hours, self.queue.unfinished())
        self.queue.forget(self.options.keep_hours)

    def check_length(self, path: Path) -> None:
        """Raises InputError for a video or sound that lasts longer than --max_seconds, or that cannot be read."""
        from media.clock import read_clock, sound_track
        from media.files import open_media
        from media.reader import open_still

        if open_still(path):
            return
        with open_media(path) as container:
            clock = read_clock(container, sound_track(container))
        seconds = max((span.end for span in (clock.picture, clock.sound) if span), default=0.0)
        if seconds > self.options.max_seconds:
            raise InputError(f"{path.name}: lasts {seconds:.0f} s; this server takes {self.options.max_seconds:g} s")


def owner_of(key: str) -> str:
    """The digest of a session's key that the list of jobs holds."""
    return hashlib.sha256(f"owner {key}".encode()).hexdigest()[:16]


def new_key() -> str:
    """Of a session."""
    return secrets.token_urlsafe(24)


def without_paths(content: Any) -> Any:
    """JSON content with the server's absolute paths cut down to file names."""
    if isinstance(content, dict):
        return {name: without_paths(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    return Path(content).name if isinstance(content, str) and Path(content).is_absolute() else content


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Errors of the disk without the server's paths."""
    try:
        yield
    except OSError as error:
        raise InputError(f"the server cannot keep the file: {error.strerror}") from error
