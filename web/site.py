"""What all tabs share: the queue of jobs, the files of sessions, the networks that are loaded."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import InputError
from web.files import SessionFiles
from web.jobs import Control, Job, JobQueue, Work
from web.options import WebOptions

if TYPE_CHECKING:
    from dubbing import Dubber, Options

EVERYBODY = "everybody"  # whose jobs are those that all visitors share; no key of a session


class Site:
    """uploads: where Gradio puts what a browser sends."""

    def __init__(self, options: WebOptions, uploads: Path) -> None:
        self.options = options
        self.files = SessionFiles(options.folder, uploads)
        devices = [name.strip() for name in options.device.split(",") if name.strip()] or ["auto"]
        self.first_device = devices[0]
        self.queue = JobQueue(options.folder / "jobs.json", devices)
        self._dubbers: dict[str, Dubber] = {}

    def submit(self, key: str, kind: str, title: str, folder: Path, work: Work) -> Job:
        return self.queue.add(owner_of(key), kind, title, folder, work)

    def jobs(self, key: str) -> list[Job]:
        return self.queue.of(owner_of(key))

    def own(self, key: str, name: str | None) -> Job | None:
        """A job by its name, where it is the session's own."""
        job = self.queue.get(name) if name else None
        return job if job and job.owner == owner_of(key) else None

    def dubber(self, control: Control, options: "Options") -> "Dubber":
        """With the networks of the device's last dub, where they are the same."""
        from dubbing import Dubber

        last = self._dubbers.get(control.device)
        dubber = self._dubbers[control.device] = Dubber(options, last.networks if last else None)
        return dubber

    def video_folders(self) -> dict[str, Path]:
        """The folders in --train_root that hold videos, by their names."""
        from media.files import is_video

        root = self.options.train_root
        inner = sorted(path for path in root.iterdir() if path.is_dir()) if root else []
        return {path.name: path for path in inner if any(map(is_video, path.rglob("*")))}

    def clean(self) -> None:
        """Delete what is older than --keep_hours."""
        hours = self.options.keep_hours
        self.files.delete_old(hours, self.queue.names())
        self.queue.forget(hours)

    def check_length(self, path: Path) -> None:
        """Raises InputError for a video or sound that lasts longer than --max_seconds, or that cannot be read."""
        from media.clock import read_clock, sound_track
        from media.files import open_media
        from media.pictures import open_still

        if open_still(path):
            return
        with open_media(path) as container:
            clock = read_clock(container, sound_track(container))
        seconds = max((span.end for span in (clock.picture, clock.sound) if span), default=0.0)
        most = self.options.max_seconds
        if seconds > most:
            raise InputError(f"{path.name}: lasts {seconds:.0f} s; at most {most:g} s are taken here")


def owner_of(key: str) -> str:
    """What a session is called in the list of jobs, which is no secret of the session's."""
    return hashlib.sha256(f"owner {key}".encode()).hexdigest()[:16]
