"""The page's queue: one job at a time on a device, the others wait in their order. The list is kept in a file, so that
a browser that comes back finds its jobs, and a server that was killed knows which of them had not ended."""

import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.published import ROOT
from utils.errors import InputError, warn
from utils.files import read_json, write_json

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
CUT_OFF = "the server was stopped before this had ended; start it again"
LOG = "log.txt"  # in a job's folder: what its script printed
POLL_SECONDS = 0.2
SCRIPT_GRACE = 60  # seconds that a script has to end in when it is asked to: a training writes a checkpoint


class Cancelled(BaseException):
    """Raised in a job that somebody cancelled; no handler of errors may keep it."""


@dataclass
class Job:
    name: str  # random; also the name of its folder
    owner: str  # digest of its session's key
    kind: str  # dub, preview, check, score, train, weights
    title: str
    folder: str
    state: str = WAITING
    message: str = ""  # what went wrong
    stage: str = ""  # of the progress
    done: int = 0  # items of the stage, in a dub frames
    total: int | None = None
    rate: float = 0.0  # items a second
    asked: float = field(default_factory=time.time)  # this and the next three: seconds since 1970
    began: float | None = None
    to_stop: float | None = None  # when somebody cancelled it while it ran
    ended: float | None = None
    result: dict[str, Any] = field(default_factory=dict)

    def seconds_left(self) -> float | None:
        """Of the stage."""
        return (self.total - self.done) / self.rate if self.total and self.rate else None


class Control:
    """What a job's work sees of the outside: its device, whether it is cancelled, and whom to tell its progress."""

    def __init__(self, job: Job, device: str) -> None:
        self.job, self.device, self.folder = job, device, Path(job.folder)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self.job.to_stop = self.job.to_stop or time.time()
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def progress(self, items: Iterable[Any], desc: str = "", total: int | None = None, **_: Any) -> Iterator[Any]:
        """Like tqdm: yields the items and counts them. Raises Cancelled at the next one when the job is cancelled."""
        job, began = self.job, time.monotonic()
        job.stage, job.done, job.total, job.rate = desc, 0, total, 0.0
        for item in items:
            if self.cancelled:
                raise Cancelled
            yield item
            job.done += 1
            job.rate = job.done / max(1e-3, time.monotonic() - began)

    def run_script(self, script: str, *arguments: str | Path) -> int:
        """Run a script of the project to its end; returns its exit code, 0 or 1. Raises InputError with the script's
        own error line for other codes. Where the job is cancelled the script is asked to stop as by Ctrl-C."""
        self.job.stage = Path(script).stem.replace("_", " ")
        log, command = self.folder / LOG, [sys.executable, "-u", str(ROOT / script), *map(str, arguments)]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
            )
            try:
                while process.poll() is None:
                    if self.cancelled:
                        raise Cancelled
                    time.sleep(POLL_SECONDS)
            finally:
                _end(process)
        if process.returncode not in (0, 1):
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            raise InputError((errors or lines or [f"{script} ended with code {process.returncode}"])[-1])
        return process.returncode


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SCRIPT_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


Work = Callable[[Control], dict[str, Any]]  # returns the job's result


class JobQueue:
    """devices: one thread for each runs the jobs; path: the list on disk."""

    def __init__(self, path: Path, devices: list[str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._waiting: list[tuple[Job, Work]] = []
        self._running: dict[str, Control] = {}
        self._jobs = {job.name: job for job in _read(path)}
        self._stopping = False
        self._save()
        for device in devices:
            threading.Thread(target=self._serve, args=(device,), daemon=True, name=f"jobs on {device}").start()

    def add(self, owner: str, kind: str, title: str, folder: Path, work: Work) -> Job:
        job = Job(folder.name, owner, kind, title, str(folder))
        with self._wake:
            self._jobs[job.name] = job
            self._waiting.append((job, work))
            self._save()
            self._wake.notify()
        return job

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def of(self, owner: str) -> list[Job]:
        """The jobs of a session, the newest first."""
        with self._lock:
            return [job for job in reversed(self._jobs.values()) if job.owner == owner]

    def jobs_before(self, job: Job) -> int:
        """How many jobs run or wait before a waiting one."""
        with self._lock:
            names = [waiting.name for waiting, _ in self._waiting]
            return names.index(job.name) + len(self._running) if job.name in names else 0

    def cancel(self, name: str) -> None:
        with self._lock:
            for entry in self._waiting:
                if entry[0].name == name:
                    self._waiting.remove(entry)
                    self._end(entry[0], CANCELLED, "before it began")
                    return
            if name in self._running:
                self._running[name].cancel()

    def stop(self, seconds: float) -> None:
        """Start no more jobs, cancel the running ones and wait for them, at most so long: their scripts would outlive
        the server. The next server lists all of them as failed."""
        with self._wake:
            self._stopping = True
            for control in self._running.values():
                control.cancel()
            self._wake.wait_for(lambda: not self._running, seconds)

    def unfinished(self) -> set[str]:
        """Names of the jobs that have not ended."""
        with self._lock:
            return {job.name for job in self._jobs.values() if job.state not in ENDED}

    def forget(self, hours: float) -> None:
        """Take jobs off the list that ended longer ago."""
        with self._lock:
            before = time.time() - 3600 * hours
            self._jobs = {name: job for name, job in self._jobs.items() if not job.ended or job.ended > before}
            self._save()

    def _serve(self, device: str) -> None:
        while True:
            with self._wake:
                while self._stopping or not self._waiting:
                    self._wake.wait()
                job, work = self._waiting.pop(0)
                control = self._running[job.name] = Control(job, device)
                job.state, job.began = RUNNING, time.time()
                self._save()
            state, message = DONE, ""
            try:
                job.result = work(control)
                if control.cancelled:  # work without progress does not look
                    state = CANCELLED
            except Cancelled:
                state = CANCELLED
            except (InputError, OSError) as error:
                state, message = FAILED, str(error)
            except Exception as error:  # the queue continues; the traceback is for whoever runs the server
                traceback.print_exc()
                state, message = FAILED, f"{type(error).__name__}: {error}"
            with self._wake:
                del self._running[job.name]
                if not self._stopping:
                    self._end(job, state, message)
                self._wake.notify_all()

    def _end(self, job: Job, state: str, message: str) -> None:
        job.state, job.message, job.ended = state, message.replace(f"{job.folder}{os.sep}", ""), time.time()
        self._save()

    def _save(self) -> None:
        try:
            write_json(self.path, [asdict(job) for job in self._jobs.values()])
        except OSError as error:  # a full disk: jobs continue, and the list is written when the next one ends
            warn(f"{self.path}: the list of jobs cannot be written ({error.strerror})")


def _read(path: Path) -> list[Job]:
    """The jobs of an earlier server; those that had not ended count as failed."""
    try:
        jobs = [Job(**entry) for entry in read_json(path, kind=list)] if path.exists() else []
    except (InputError, TypeError):
        warn(f"{path}: the list of jobs is damaged and starts empty")
        jobs = []
    for job in jobs:
        if job.state not in ENDED:
            job.state, job.message, job.ended = FAILED, CUT_OFF, time.time()
    return jobs
