"""The server of the page: its settings, the folders of visitors and trainings, and the jobs that run.

    <folder>/sessions/<digest of a visitor's key>/<job>/face.mp4, speech.wav, dub.mp4, ...
    <folder>/runs/<digest of a folder of videos>/index.html, generator/summary.html, log.txt, ...

A visitor's key is random and known to one browser alone. A job's name is random, too: who knows it may see its results.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from models.published import ROOT
from utils.errors import InputError
from utils.settings import Options, option

AUTH = "WAV2LIP_AUTH"  # environment variable: user:password
LOG = "log.txt"  # in a job's folder: what its script printed
POLL_SECONDS = 0.2
SCRIPT_GRACE = 60  # seconds that a script has to end in when it is asked to: a training writes a checkpoint


@dataclass(frozen=True, kw_only=True)
class WebOptions(Options):
    """How the page is served."""

    host: str = option("address to listen on; 0.0.0.0: all addresses of this machine", "127.0.0.1")
    port: int = option("port to listen on", 7860, minimum=1, maximum=65535)
    share: bool = option("make the page public through a tunnel of Gradio that ends after some days", False)
    auth: bool = option(f"ask for user and password; the environment variable {AUTH} holds user:password", False)
    folder: Path = option("folder for uploads and results", Path("results/web"))
    device: str = option("auto, or devices such as cuda:0,cuda:1; each runs one job at a time", "auto")
    train_root: Path | None = option(
        "folder whose sub-folders of videos can be trained on (default: no training)", None
    )
    max_upload_mb: int = option("size limit of uploads", 500, unit="MB", minimum=1)
    max_seconds: float = option("length limit of videos and speech", 600.0, unit="seconds", minimum=1)
    keep_hours: float = option("delete uploads and results after this time", 24.0, unit="hours", minimum=0.01)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_root and not self.train_root.is_dir():
            raise InputError(f"--train_root {self.train_root}: is not a folder")

    def login(self) -> tuple[str, str] | None:
        """User and password; None: no login. Raises InputError where --auth is given and the variable is not set."""
        if not self.auth:
            return None
        user, colon, password = os.environ.get(AUTH, "").partition(":")
        if not (user and colon and password):
            raise InputError(f"--auth: set the environment variable {AUTH} to user:password")
        return user, password


class Cancelled(BaseException):
    """Raised in a job that somebody cancelled; no handler of errors may keep it."""


@dataclass(eq=False)
class Job:
    """What runs on a device."""

    folder: Path  # for its files
    device: str
    cancelled: bool = False

    def check(self) -> None:
        """Raises Cancelled where somebody has cancelled it."""
        if self.cancelled:
            raise Cancelled

    def run_script(self, script: str, *arguments: str | Path) -> None:
        """Run a script of the project to its end, in the job's folder; its output goes to LOG. Raises InputError with
        the script's own error line where it ends with a code other than 0 or 1. Where the job is cancelled the script
        is asked to stop as by Ctrl-C."""
        command = [sys.executable, "-u", str(ROOT / script), *map(str, arguments)]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        with (self.folder / LOG).open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                self.check()
                time.sleep(POLL_SECONDS)
        finally:
            process.terminate()  # does nothing where it has ended
            try:
                process.wait(SCRIPT_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.returncode not in (0, 1):
            lines = log_lines(self.folder)
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            raise InputError((errors or lines or [f"{script} ended with code {process.returncode}"])[-1])


class Site:
    """One server: its folders and its running jobs. networks: of each device's last dub."""

    def __init__(self, options: WebOptions) -> None:
        self.options, self.folder = options, options.folder.resolve()
        self.sessions, self.runs, self.uploads = (self.folder / name for name in ("sessions", "runs", "uploads"))
        for folder in (self.sessions, self.runs, self.uploads):
            folder.mkdir(parents=True, exist_ok=True)
        self.devices = [name.strip() for name in options.device.split(",") if name.strip()] or ["auto"]
        self.networks: dict[str, Any] = {}
        self._free: SimpleQueue[str] = SimpleQueue()
        for device in self.devices:
            self._free.put(device)
        self._running: list[Job] = []
        self._stopping = False

    def session(self, key: str) -> Path:
        """Where the jobs of a visitor are. Raises InputError for an empty key."""
        if not key:
            raise InputError("this page has lost its session; load it again")
        return self.sessions / hashlib.sha256(key.encode()).hexdigest()[:32]

    def run_folder(self, videos: Path) -> Path:
        """Where the training on a folder of videos keeps all it makes."""
        return self.runs / hashlib.sha256(str(videos.resolve()).encode()).hexdigest()[:16]

    def address(self, path: Path) -> str:
        """Of a file in a job's or training's folder."""
        return f"/{path.relative_to(self.folder).as_posix()}"

    def video_folders(self) -> dict[str, Path]:
        """The folders in --train_root, by their names."""
        root = self.options.train_root
        return {path.name: path for path in sorted(root.resolve().iterdir()) if path.is_dir()} if root else {}

    @contextmanager
    def job(self, within: Path, name: str | None = None) -> Iterator[Job]:
        """A job on the next free device, in a new folder or one of that name. Its errors are InputErrors without the
        server's paths."""
        if self._stopping:
            raise InputError("the server is about to stop")
        device = self._free.get()
        job = Job(within / (name or secrets.token_hex(16)), device)
        self._running.append(job)
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            yield job
        except Cancelled as error:
            raise InputError("cancelled") from error
        except InputError as error:
            raise InputError(str(error).replace(f"{job.folder}{os.sep}", "")) from error
        except OSError as error:
            raise InputError(f"the server cannot keep the files: {error.strerror or error}") from error
        finally:
            self._running.remove(job)
            self._free.put(device)

    def runs_in(self, folder: Path) -> bool:
        """Whether a job runs in the folder or below."""
        return any(job.folder.is_relative_to(folder) for job in self._running)

    def cancel(self, folder: Path) -> None:
        """Cancel what runs in the folder or below."""
        for job in list(self._running):
            if job.folder.is_relative_to(folder):
                job.cancelled = True

    def stop(self) -> None:
        """Start no more jobs, cancel the running ones and wait for them: their scripts would outlive the server."""
        self._stopping = True
        self.cancel(self.folder)
        end = time.monotonic() + SCRIPT_GRACE + 5
        while self._running and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def delete_old(self) -> None:
        """Delete uploads and the files of ended jobs that are older than --keep_hours."""
        before = time.time() - 3600 * self.options.keep_hours
        for path in [*self.sessions.glob("*/*"), *self.uploads.iterdir()]:
            with suppress(OSError):  # tried again next time
                if path.stat().st_mtime < before and not self.runs_in(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def log_lines(folder: Path) -> list[str]:
    """What the script of a job has printed, without empty lines and the folder's path."""
    path = folder / LOG
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [line for line in text.replace(f"{folder}{os.sep}", "").splitlines() if line.strip()]
