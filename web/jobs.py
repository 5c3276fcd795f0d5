"""The jobs of all visitors: kept on disk, in one line, each a process of its own.

Every device runs one job at a time, the oldest that waits. A job is a script of the project, started with a list of
arguments in the job's folder. It ends with the server, however that ends (utils/process.py: end_with_stdin); a server
that starts again lets what waited wait, and starts again what ran.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from models.published import ROOT
from utils.errors import InputError
from utils.files import LOCK, read_json, write_json
from utils.process import END_WITH_STDIN, LAST_SECONDS
from utils.progress import FORMAT
from web import forms
from web.site import HOUR, Refused, Site, Visitor, media_suffix

JOB, LOG, CHECK = "job.json", "log.txt", "check.json"  # in a job's folder
KILL_AFTER = 0.8  # seconds from asking a process to end to killing it
GRACE = {"train": LAST_SECONDS}  # seconds that others have
CLEAN_EVERY = 600  # seconds
LIVE = ("waiting", "running", "stopping")
ENVIRONMENT = {END_WITH_STDIN: "1", FORMAT: "json", "PYTHONIOENCODING": "utf-8"}
PATHS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\",:;()]+/)+")  # the folders of absolute paths


@dataclass(eq=False)
class Job:
    """What job.json holds, and below what is known of its process."""

    id: str
    kind: str
    title: str
    inputs: dict[str, Any]  # by role: id and name
    files: dict[str, str]  # by role, in the job's folder
    settings: dict[str, Any]
    owner: bool  # whether it is the owner's
    token: str  # of the press of a button
    created: float
    state: str = "waiting"
    started: float | None = None
    ended: float | None = None
    message: str | None = None
    advice: list[str] = field(default_factory=list)
    estimate_s: float | None = None
    folder: Path = Path()
    run: str = ""  # folder of a training
    videos: str = ""  # that it learns from
    progress: dict[str, Any] | None = None
    process: subprocess.Popen | None = None

    def save(self) -> None:
        content = {name: getattr(self, name) for name in KEPT}
        write_json(self.folder / JOB, content)


KEPT = [entry.name for entry in fields(Job) if entry.name not in ("folder", "progress", "process")]


class Queue:
    """All jobs of a server, and the threads that run them."""

    def __init__(self, site: Site) -> None:
        self.site, self.changed = site, threading.Condition()
        self.jobs: dict[str, Job] = {}
        self.ended = threading.Event()
        for path in site.visitors.glob(f"*/jobs/[0-9a-f]*/{JOB}"):
            with suppress(InputError, TypeError):
                job = Job(**read_json(path), folder=path.parent)
                self.jobs[job.id] = job
                if job.state in LIVE:
                    job.state = "cancelled" if job.state == "stopping" else "waiting"
                    job.save()
        self.threads = [threading.Thread(target=self._work, args=(device,)) for device in site.devices]
        for thread in [*self.threads, threading.Thread(target=self._clean, daemon=True)]:
            thread.start()

    # For visitors

    def of(self, visitor: Visitor) -> list[Job]:
        """The visitor's jobs, the newest first."""
        own = [job for job in list(self.jobs.values()) if job.folder.parent.parent == visitor.folder]
        return sorted(own, key=lambda job: -job.created)

    def get(self, visitor: Visitor, key: str) -> Job:
        job = self.jobs.get(key)
        if job is None or job.folder.parent.parent != visitor.folder:
            raise Refused("This job is no longer here.", status=404)
        return job

    def submit(
        self, visitor: Visitor, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], token: str,
        sources: Mapping[str, Path],
    ) -> Job:  # fmt: skip
        """A new job, or the one that the same token has made. inputs: by role id and name; sources: their files."""
        with self.changed:
            own = self.of(visitor)
            for job in own:
                if job.token == token:
                    return job
            if sum(job.state == "waiting" for job in own) >= self.site.options.max_waiting:
                text = f"{self.site.options.max_waiting} of your jobs are waiting; wait for one to end, or cancel one."
                raise Refused(text, status=429)
            key = secrets.token_hex(16)
            names = {role: f"{role}/{file_name(inputs[role]['name'])}" for role in sources}
            title = " + ".join(str(about["name"]) for about in inputs.values())
            job = Job(key, kind, title, dict(inputs), names, dict(settings), visitor.owner, token, time.time())
            job.folder = visitor.folder / "jobs" / key
            if kind == "train":
                self._plan_training(job)
            forms.command(self.site, job, self.site.devices[0])  # raises Refused for what cannot be
            try:
                for role, name in names.items():
                    link(sources[role], job.folder / name)
                job.folder.mkdir(parents=True, exist_ok=True)
                job.estimate_s = self._estimate(job)
                job.save()
            except BaseException:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise
            self.jobs[key] = job
            self.changed.notify_all()
            return job

    def again(self, visitor: Visitor, key: str) -> Job:
        """A new job like that one, of the same files."""
        old = self.get(visitor, key)
        sources = {role: old.folder / name for role, name in old.files.items()}
        return self.submit(visitor, old.kind, old.inputs, old.settings, secrets.token_hex(16), sources)

    def cancel(self, job: Job) -> None:
        with self.changed:
            if job.state == "waiting":
                job.state, job.ended = "cancelled", time.time()
            elif job.state == "running":
                job.state = "stopping"
                threading.Thread(target=end, args=(job,)).start()
            job.save()
            self.changed.notify_all()

    def delete(self, job: Job) -> None:
        with self.changed:
            if job.state in LIVE:
                raise Refused("This job has not ended; cancel it first.", status=409)
            shutil.rmtree(job.folder, ignore_errors=True)
            self.jobs.pop(job.id, None)

    def place(self, job: Job) -> int | None:
        """Of a waiting job: 1 for the next one."""
        waiting = sorted((other for other in list(self.jobs.values()) if other.state == "waiting"), key=age)
        return waiting.index(job) + 1 if job in waiting else None

    def pace(self) -> float | None:
        """Seconds of work for a second of result, in the latest dub."""
        dubs = [job for job in list(self.jobs.values()) if job.kind == "dub" and job.state == "done"]
        latest = max(dubs, key=age, default=None)
        seconds = latest and latest.inputs["speech"].get("seconds")
        return (latest.ended - latest.started) / seconds if latest and seconds else None

    def view(self, job: Job) -> dict[str, Any]:
        """A job as the page is told of it."""
        shown = {
            name: getattr(job, name) for name in
            ("id", "kind", "state", "title", "created", "started", "ended", "progress", "estimate_s", "message",
             "advice", "inputs", "settings")
        }  # fmt: skip
        expires = None if job.state in LIVE else (job.ended or job.created) + self.site.options.keep_hours * HOUR
        return shown | {"place": self.place(job), "results": self._results(job), "expires": expires}

    def _results(self, job: Job) -> list[dict[str, str]]:
        folder, run, dubs = job.folder, Path(job.run or job.folder), set()
        for record in folder.glob("*.*.json"):
            dubs |= {record.with_suffix("")}
        found = [("video", dub) for dub in dubs] + [("video", path) for path in run.glob("dubs*/whole.mp4")]
        found += [(role, path) for pattern, role in RESULTS for path in sorted(run.glob(pattern))]
        if job.run:
            found += [("log", folder / LOG)]
        return [
            {"role": role, "name": path.name, "url": self._address(job, path)}
            for role, path in found
            if path.exists() and not path.name.startswith(".")
        ]

    def _address(self, job: Job, path: Path) -> str:
        """Pages have one that needs no cookie, since nothing in a page without rights can send one."""
        base = job.folder if path.is_relative_to(job.folder) else Path(job.run)
        name = path.relative_to(base).as_posix()
        if path.suffix == ".html":
            return f"/pages/{job.id}/{self.site.signed(job.id)}/{name}"
        return f"/jobs/{job.id}/files/{name}"

    def file(self, job: Job, name: str) -> Path:
        """A file that may be shown. Raises Refused for any other."""
        for folder in (job.folder, *([Path(job.run)] if job.run else [])):
            path = (folder / name).resolve()
            shown = media_suffix(name) or path.suffix in SHOWN or name == LOG
            if shown and name != JOB and path.is_relative_to(folder.resolve()) and path.is_file():
                return path
        raise Refused("This file is no longer here.", status=404)

    # Trainings

    def _plan_training(self, job: Job) -> None:
        videos = job.inputs["videos"]
        folder = self.site.video_folders().get(videos["id"])
        run = self.site.run_folder(str(folder.resolve()) if folder else videos["id"])
        if any(other.run == str(run) and other.state in LIVE for other in self.jobs.values()):
            raise Refused("This training is running or waiting already; its job is in the list.", "videos", 409)
        run.mkdir(parents=True, exist_ok=True)
        (run / "name.txt").write_text(videos["name"], encoding="utf-8")
        job.run, job.videos = str(run), str(folder or run / "videos")
        for source in videos.get("sources", ()):
            link(Path(source["file"]), run / "videos" / f"{source['id'][:8]} {file_name(source['name'])}")

    def _estimate(self, job: Job) -> float | None:
        pace, seconds = self.pace(), job.inputs.get("speech", {}).get("seconds")
        if job.kind == "train":
            return 60 * float(job.settings.get("minutes", forms.MINUTES["default"]))
        return pace * min(seconds, forms.PREVIEW if job.kind == "preview" else seconds) if pace and seconds else None

    # Running

    def _work(self, device: str) -> None:
        """Run one job after the other on a device until the server ends."""
        while not self.ended.is_set():
            with self.changed:
                waiting = sorted((job for job in self.jobs.values() if job.state == "waiting"), key=age)
                if not waiting:
                    self.changed.wait(1.0)
                    continue
                job = waiting[0]
                job.state, job.started, job.progress = "running", time.time(), {"what": "starting"}
            try:
                job.save()
                code = self._run(job, device)
                state, message = self._outcome(job, code)
            except (InputError, OSError) as error:
                text = f"The server cannot keep the files ({error.strerror})." if isinstance(error, OSError) else error
                state, message = "failed", str(text)
            with self.changed:
                job.process, job.progress = None, None
                if self.ended.is_set() and job.state == "running":
                    return  # it is on disk as running, and will be started again
                job.state = "cancelled" if job.state == "stopping" else state
                job.message, job.ended = message if job.state != "cancelled" else None, time.time()
                with suppress(OSError):
                    job.save()

    def _run(self, job: Job, device: str) -> int:
        """Run the job's script to its end; returns its exit code."""
        if job.run:  # the server before this one may have been killed: its training writes a checkpoint
            with suppress(Timeout), FileLock(Path(job.run) / LOCK, timeout=LAST_SECONDS + 10):
                pass
        script, *arguments = forms.command(self.site, job, device)
        with (job.folder / LOG).open("w", encoding="utf-8") as log, (job.folder / CHECK).open("wb") as found:
            process = start([str(ROOT / script), *arguments], job.folder, found if job.kind == "check" else None)
            with self.changed:
                job.process = process
                stopped = job.state == "stopping" or self.ended.is_set()
            if stopped:
                end(job)
            if job.kind != "train":
                limit_memory(process, self.site.options.max_job_gb)
                late = threading.Timer(60 * self.site.options.max_job_minutes, end, (job,))
                late.daemon = True
                late.start()
            stream: Any = process.stdout or process.stderr
            for line in stream:
                self._hear(job, line.decode(errors="replace"), log)
            stream.close()
            process.wait()
            assert process.stdin
            process.stdin.close()
            if job.kind != "train":
                late.cancel()
        if job.kind != "check":
            (job.folder / CHECK).unlink(missing_ok=True)
        return process.returncode

    def _hear(self, job: Job, line: str, log: Any) -> None:
        """Take in a line that a script has printed: progress, or what belongs into the log, without paths."""
        if line.startswith('{"what"'):
            about = json.loads(line)
            job.progress = {
                "what": about["what"], "done": about["done"], "total": about["total"], "unit": about["unit"],
                "remaining_s": about["remaining"],
            }  # fmt: skip
            return
        for folder in (job.folder, job.run, ROOT):
            line = line.replace(f"{folder}{os.sep}", "") if str(folder) else line
        with suppress(OSError):
            log.write(PATHS.sub("", line))
            log.flush()

    def _outcome(self, job: Job, code: int) -> tuple[str, str | None]:
        """State and message of a job whose script has ended."""
        lines = (job.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        warnings = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        job.advice = [forms.without_flags(line) for line in warnings]
        limit = 60 * self.site.options.max_job_minutes
        if code not in (0, 1) or (code == 1 and job.kind not in ("train", "score")):
            if job.kind != "train" and time.time() - (job.started or 0) >= limit:
                return "failed", f"It took longer than the {limit / 60:g} minutes that a job may take here."
            if errors:
                return "failed", forms.without_flags(errors[-1])
            return "failed", "It ended without a result; it may have needed more memory than a job may take here."
        return "done", None

    # The server's end, and old files

    def stop(self) -> None:
        """End all jobs, which the next server starts again."""
        self.ended.set()
        with self.changed:
            self.changed.notify_all()
            running = [job for job in self.jobs.values() if job.process]
        enders = [threading.Thread(target=end, args=(job,)) for job in running]
        for thread in enders:
            thread.start()
        for thread in [*enders, *self.threads]:
            thread.join(LAST_SECONDS + 5)

    def _clean(self) -> None:
        while True:
            self.delete_old()
            if self.ended.wait(CLEAN_EVERY):
                return

    def delete_old(self) -> None:
        """Delete uploads, and jobs that have ended, when they are older than --keep_hours."""
        before = time.time() - HOUR * self.site.options.keep_hours
        for job in list(self.jobs.values()):
            if job.state not in LIVE and (job.ended or job.created) < before:
                self.delete(job)
        for path in self.site.visitors.glob("*/uploads/*"):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path)


RESULTS = (  # of a job or a training, and what they are
    ("index.html", "page"), ("generator*/summary.html", "page"), ("preprocessed/report.html", "page"),
    ("*.*.html", "page"), ("scores.html", "page"), ("*.png", "picture"), ("*.*.json", "record"),
    (CHECK, "record"), ("scores.json", "scores"), (LOG, "log"),
)  # fmt: skip
SHOWN = {".html", ".json", ".png", ".jpg", ".mp4", ".webm"}


def age(job: Job) -> float:
    return job.created


def file_name(name: str) -> str:
    """The name that an upload has in a job's folder."""
    path = Path(name)
    return path.stem + media_suffix(name)


def link(source: Path, target: Path) -> None:
    """The file under another name, once on disk. Raises Refused where it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not target.exists():
            os.link(source, target)
    except FileNotFoundError as error:
        raise Refused("A file of this job is no longer here; upload it again.") from error
    except OSError:  # file systems without links
        shutil.copyfile(source, target)


def start(arguments: list[str], folder: Path, found: BinaryIO | None = None) -> subprocess.Popen:
    """A Python process that ends with this one; what it prints is read from stdout, or from stderr where stdout goes to
    the file `found`."""
    return subprocess.Popen(
        [sys.executable, "-u", *arguments], cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.PIPE,
        stdout=found or subprocess.PIPE, stderr=subprocess.PIPE if found else subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def limit_memory(process: subprocess.Popen, gigabytes: float) -> None:
    """Where the system can do that: more memory is an error in the process."""
    with suppress(ImportError, OSError):
        import resource

        if hasattr(resource, "prlimit"):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)


def end(job: Job) -> None:
    """Ask a job's process to end, and kill it and its children where it does not."""
    if (process := job.process) is None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE.get(job.kind, KILL_AFTER))
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
