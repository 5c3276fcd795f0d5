"""The jobs of all visitors: kept on disk, in one line, each a process of its own.

Every device runs one job at a time, the oldest that waits: a script of the project in the job's folder. It ends with
the server, however that ends (utils/process.py: end_with_stdin). A server that starts again starts again what ran.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from media.formats import CONTAINERS
from models.published import ROOT
from utils.errors import InputError, is_expected
from utils.files import LOCK, read_json, write_json, write_text
from utils.process import KILL_AFTER, LAST_SECONDS, end_process, run_process
from web import forms
from web.site import HOUR, Refused, Site, Visitor, media_suffix, sentence, without_flags

JOB, LOG = "job.json", "log.txt"  # in a job's folder
LIVE = ("waiting", "running", "stopping")
CLEAN_EVERY = 600  # seconds
BESIDE = ".side_by_side.mp4"
COPIES = (".copy.mp4", ".source.mp4", ".source.png")  # that a page plays
RESULTS = (  # of a job, or of its training: files, and what they are
    *((f"*_*{suffix}", "video") for suffix in CONTAINERS), ("dubs*/whole.mp4", "video"),
    (f"*{BESIDE}", "side_by_side"), ("index.html", "page"), ("generator*/summary.html", "page"),
    ("preprocessed/report.html", "page"), ("*_*.html", "page"), ("scores.html", "page"), ("*.png", "picture"),
    ("*_*.json", "record"), ("scores.json", "scores"), (LOG, "log"),
)  # fmt: skip
PATHS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\",:;()]+/)+")  # the folders of absolute paths
ADVICE = re.compile(r"^(?:problem|remark|warning|found): (.+)|^(these weights cannot .+)", re.MULTILINE)
OUTCOME = re.compile(r"^(nothing is wrong with the footage|lips and speech: [^(]+)", re.MULTILINE)
ESTIMATE = re.compile(r"^a dub of .+ takes about (\d+) s here", re.MULTILINE)  # of --check


@dataclass(eq=False, kw_only=True)
class Job:
    """What job.json holds."""

    id: str
    visitor: str  # name of the folder
    owner: bool  # whether it is the owner's
    token: str  # of the press of a button, which makes one job
    kind: str
    title: str
    inputs: dict[str, Any]  # by role what is known of the upload, its id and name at least
    settings: dict[str, Any]
    created: float
    state: str = "waiting"
    started: float | None = None
    ended: float | None = None
    message: str | None = None
    advice: list[str] = field(default_factory=list)
    estimate_s: float | None = None  # that a dub takes, as a check says


class Queue:
    """All jobs of a server, and the threads that run them."""

    def __init__(self, site: Site) -> None:
        self.site, self.changed, self.ended = site, threading.Condition(), threading.Event()
        self.jobs: dict[str, Job] = {}
        self.processes: dict[Job, subprocess.Popen] = {}
        self.progress: dict[Job, dict[str, Any]] = {}
        for path in site.visitors.glob(f"*/jobs/*/{JOB}"):
            with suppress(InputError, TypeError):  # of another version
                job = Job(**read_json(path))
                self.jobs[job.id] = job
                if job.state in LIVE:
                    self._set(job, "cancelled" if job.state == "stopping" else "waiting")
        self.threads = [threading.Thread(target=self._work, args=(device,)) for device in site.devices]
        for thread in (*self.threads, threading.Thread(target=self._clean, daemon=True)):
            thread.start()

    # What visitors do

    def of(self, visitor: Visitor) -> list[Job]:
        """The visitor's jobs, the newest first."""
        own = [job for job in list(self.jobs.values()) if job.visitor == visitor.folder.name]
        return sorted(own, key=lambda job: -job.created)

    def get(self, visitor: Visitor, key: str) -> Job:
        job = self.jobs.get(key)
        if job is None or job.visitor != visitor.folder.name:
            raise Refused("This job is no longer here.", status=404)
        return job

    def check_owner(self, visitor: Visitor, kind: str) -> None:
        if kind in forms.OF_THE_OWNER and not visitor.owner:
            raise Refused("Only the owner of this server may do that.", status=403)

    def submit(
        self, visitor: Visitor, kind: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], token: str,
        sources: Mapping[str, Path],
    ) -> Job:  # fmt: skip
        """A new job, or the one that the same token has made. sources: the files of inputs, by role."""
        job = Job(
            id=secrets.token_hex(16), visitor=visitor.folder.name, owner=visitor.owner, token=token, kind=kind,
            title=" + ".join(str(about["name"]) for about in inputs.values()), inputs=dict(inputs),
            settings=dict(settings), created=time.time(),
        )  # fmt: skip
        self.check_owner(visitor, kind)
        with self.changed:
            own = self.of(visitor)
            if same := [other for other in own if other.token == token]:
                return same[0]
            if sum(other.state == "waiting" for other in own) >= self.site.options.max_waiting:
                text = f"{self.site.options.max_waiting} of your jobs are waiting; wait for one to end, or cancel one."
                raise Refused(text, status=429)
            if kind == "train" and any(
                other.inputs["videos"]["id"] == inputs["videos"]["id"] for other in self._live("train")
            ):
                raise Refused("This training is running or waiting already.", "videos", 409)
            self.site.check_disk()
            forms.command(self.site, job, self.site.devices[0])  # raises Refused for what cannot be
            try:
                for role, source in sources.items():
                    link(source, self.folder(job) / forms.file_of(job, role))
                self._set(job, "waiting")
            except BaseException:
                shutil.rmtree(self.folder(job), ignore_errors=True)
                raise
            self.jobs[job.id] = job
            self.changed.notify_all()
        return job

    def again(self, visitor: Visitor, key: str) -> Job:
        """A new job like that one, with the same files; as long as one of them has not ended, that one."""
        old = self.get(visitor, key)
        files = {role: self.folder(old) / forms.file_of(old, role) for role in old.inputs}
        sources = {role: path for role, path in files.items() if path.exists()}
        ended = sum(job.token.startswith(key) and job.state not in LIVE for job in self.of(visitor))
        return self.submit(visitor, old.kind, old.inputs, old.settings, f"{key} {ended}", sources)

    def cancel(self, job: Job) -> None:
        with self.changed:
            if job.state in ("waiting", "running"):
                self._set(job, "cancelled" if job.state == "waiting" else "stopping")
                self._end(job)

    def delete(self, job: Job) -> None:
        with self.changed:
            if job.state in LIVE:
                raise Refused("This job has not ended; cancel it first.", status=409)
            shutil.rmtree(self.folder(job), ignore_errors=True)
            self.jobs.pop(job.id, None)

    # What they see

    def view(self, job: Job) -> dict[str, Any]:
        """A job as the page is told of it."""
        about = {name: value for name, value in asdict(job).items() if name not in ("visitor", "owner", "token")}
        waiting = self._live(state="waiting")
        return about | {
            "place": waiting.index(job) + 1 if job in waiting else None,
            "progress": self.progress.get(job),
            "results": self._results(job),
            "expires": job.ended and job.ended + self.site.options.keep_hours * HOUR,
        }

    def folder(self, job: Job) -> Path:
        return self.site.visitors / job.visitor / "jobs" / job.id

    def file(self, job: Job, name: str) -> Path:
        """A file that may be shown. Raises Refused for any other."""
        shown = media_suffix(name) or name.endswith((".html", ".json")) or name == LOG
        for folder in self._folders(job):
            path = (folder / name).resolve()
            if shown and name != JOB and path.is_relative_to(folder) and path.is_file():
                return path
        raise Refused("This file is no longer here.", status=404)

    def _results(self, job: Job) -> list[dict[str, str]]:
        found = []
        for folder, (pattern, role) in product(self._folders(job), RESULTS):
            # Pages have addresses that need no cookie: a page without rights of its own sends none
            where = f"/pages/{job.id}/{self.site.signed(job.id)}" if role == "page" else f"/jobs/{job.id}/files"
            for path in sorted(folder.glob(pattern)):
                hidden = path.name.startswith(".") or path.name.endswith(COPIES)
                if not hidden and (role == "side_by_side") == path.name.endswith(BESIDE):
                    url = f"{where}/{path.relative_to(folder).as_posix()}"
                    found.append({"role": role, "name": path.name, "url": url})
        return found

    def pace(self) -> float | None:
        """Seconds of work for a second of speech, in the latest dub."""
        dubs = [job for job in list(self.jobs.values()) if job.kind == "dub" and job.state == "done"]
        for job in sorted(dubs, key=lambda job: -job.created):
            return ((job.ended or 0) - (job.started or 0)) / max(1, job.inputs["speech"].get("seconds") or 1)
        return None

    # Running

    def _folders(self, job: Job) -> list[Path]:
        """Where a job's files are: its own folder, and that of a training."""
        run = [self.site.run_folder(job.inputs["videos"]["id"])] if job.kind == "train" else []
        return [self.folder(job), *run]

    def _live(self, kind: str = "", state: str = "") -> list[Job]:
        """Jobs that have not ended, the oldest first."""
        live = [job for job in list(self.jobs.values()) if job.state in LIVE]
        fitting = [job for job in live if kind in ("", job.kind) and state in ("", job.state)]
        return sorted(fitting, key=lambda job: job.created)

    def _set(self, job: Job, state: str, message: str | None = None) -> None:
        job.state, job.message = state, message
        if state not in LIVE:
            job.ended = time.time()
        self.folder(job).mkdir(parents=True, exist_ok=True)
        write_json(self.folder(job) / JOB, asdict(job))

    def _work(self, device: str) -> None:
        """Run one job after the other on a device until the server ends."""
        while not self.ended.is_set():
            with self.changed:
                waiting = self._live(state="waiting")
                if not waiting:
                    self.changed.wait(1.0)
                    continue
                job = waiting[0]
                job.started, self.progress[job] = time.time(), {"what": "starting"}
                with suppress(OSError):  # of a full disk
                    self._set(job, "running")
            try:
                state, message = self._outcome(job, self._execute(job, device))
            except Exception as error:  # of any kind: the next job may succeed
                if not is_expected(error):
                    traceback.print_exception(error)
                state, message = "failed", sentence(error)
            with self.changed:
                self.processes.pop(job, None)
                self.progress.pop(job, None)
                if self.ended.is_set() and job.state == "running":
                    return  # so it is on disk: the next server starts it again
                stopped = job.state == "stopping"
                with suppress(OSError):  # of a full disk
                    self._set(job, "cancelled" if stopped else state, None if stopped else message)

    def _execute(self, job: Job, device: str) -> int:
        """Run the job's script to its end; returns its exit code."""
        options, (folder, *runs) = self.site.options, self._folders(job)
        for run in runs:  # a server before this one was killed: its training writes a checkpoint
            with suppress(Timeout), FileLock(run / LOCK, timeout=LAST_SECONDS):
                pass
        script, *arguments = forms.command(self.site, job, device)

        def started(process: subprocess.Popen) -> None:
            with self.changed:
                self.processes[job] = process
                if job.state == "stopping" or self.ended.is_set():
                    self._end(job)

        def hear(line: str) -> None:
            if line.startswith('{"what"'):
                about = json.loads(line)
                self.progress[job] = about | {"remaining_s": about.pop("remaining")}
                return
            with suppress(OSError):  # of a full disk
                log.write(PATHS.sub("", self._without_paths(job, line)))
                log.flush()

        with (folder / LOG).open("w", encoding="utf-8") as log:
            limits = (inf, inf) if runs else (60 * options.max_job_minutes, options.max_job_gb)
            return run_process([str(ROOT / script), *arguments], folder, hear, *limits, started)

    def _without_paths(self, job: Job, text: str) -> str:
        for known in (*self._folders(job), self.site.folder, ROOT):
            text = text.replace(f"{known}{os.sep}", "")
        return text

    def _outcome(self, job: Job, code: int) -> tuple[str, str | None]:
        """State and message of a job whose script has ended; what it has to say is noted."""
        text = (self.folder(job) / LOG).read_text(encoding="utf-8", errors="replace")
        for record in self.folder(job).glob("*_*.json"):
            write_text(record, self._without_paths(job, record.read_text(encoding="utf-8")))
        job.advice = [without_flags(found[1] or found[2]) for found in ADVICE.finditer(text)]
        if found := ESTIMATE.search(text):
            job.estimate_s = float(found[1])
        limit, errors = self.site.options.max_job_minutes, re.findall(r"^error: (.+)", text, re.MULTILINE)
        if code == 0 or (code == 1 and job.kind in ("train", "score")) or (job.kind == "check" and job.advice):
            said = OUTCOME.search(text)
            return "done", f"{said[1][0].upper()}{said[1][1:].strip()}." if said else None
        if job.kind != "train" and time.time() - (job.started or 0) >= 60 * limit:
            return "failed", f"It took longer than the {limit:g} minutes that a job may take here."
        memory = "It ended without a result; it may have needed more memory than a job may take here."
        return "failed", without_flags(errors[-1]) if errors else memory

    def _end(self, job: Job) -> None:
        if process := self.processes.get(job):
            seconds = LAST_SECONDS if job.kind == "train" else KILL_AFTER
            threading.Thread(target=end_process, args=(process, seconds)).start()

    def stop(self) -> None:
        """End all jobs; the next server starts them again."""
        with self.changed:
            self.ended.set()
            self.changed.notify_all()
            for job in list(self.processes):
                self._end(job)
        for thread in self.threads:
            thread.join()

    def _clean(self) -> None:
        while not self.ended.is_set():
            self.delete_old()
            self.ended.wait(CLEAN_EVERY)

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


def link(source: Path, target: Path) -> None:
    """The file under another name, once on disk. Raises Refused where it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise Refused("A file of this job is no longer here; upload it again.") from error
    except OSError:  # on file systems without links
        shutil.copyfile(source, target)
