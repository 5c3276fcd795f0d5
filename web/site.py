"""The page's server: its settings, who its visitors are, and their uploads.

    <folder>/visitors/<digest>/uploads/<id>/file.mp4, about.json
    <folder>/visitors/<digest>/jobs/<id>/job.json, log.txt, face/talk.mp4, speech/speech.wav, talk_speech.mp4, ...
    <folder>/runs/<digest of a folder of videos>/index.html, generator/summary.html, ...

A visitor is a user, or without --auth a browser: a cookie holds a random name that is signed with the folder's secret,
so that a server that starts again knows it.
"""

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from media.formats import VIDEO_SUFFIXES
from utils.errors import InputError
from utils.files import LONGEST_SUFFIX, read_json, write_json
from utils.settings import Options, option

AUTH = "WAV2LIP_AUTH"  # environment variable: user:password, several separated by spaces or newlines
DISK_RESERVE = 200 << 20  # bytes that uploads leave free
LONGEST_NAME = 90  # bytes of an upload's name
PARTIAL = ".part-"  # begins the names of folders that are being filled
NO_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"/\\|?*]')  # characters that some systems refuse
MEDIA_SUFFIXES = {
    *VIDEO_SUFFIXES, ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".wav",
    ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus",
}  # fmt: skip
FLAG = re.compile(r"--([a-z]\w*)")
HOUR, MB = 3600, 1_000_000


@dataclass(frozen=True, kw_only=True)
class WebOptions(Options):
    """How the page is served."""

    host: str = option("address to listen on; 0.0.0.0: all addresses of this machine", "127.0.0.1")
    port: int = option("port to listen on", 7860, minimum=1, maximum=65535)
    auth: bool = option(
        f"ask for user and password; the environment variable {AUTH} holds user:password, several with spaces between; "
        "the first user is the owner", False,
    )  # fmt: skip
    open: bool = option("let everybody who reaches --host use the page without a password", False)
    allowed_hosts: str = option("other names by which browsers reach the page, with commas between", "")
    folder: Path = option("folder for uploads and results", Path("results/web"))
    device: str = option("auto, or devices such as cuda:0,cuda:1; each runs one job at a time", "auto")
    train_root: Path | None = option(
        "folder whose sub-folders of videos the owner can train on (default: uploads alone)", None
    )
    max_upload_mb: int = option("size limit of an upload", 500, unit="MB", minimum=1)
    max_visitor_mb: int = option("size limit of all uploads of a visitor", 2000, unit="MB", minimum=1)
    max_seconds: float = option("length limit of videos and speech", 600.0, unit="seconds", minimum=1)
    max_waiting: int = option("jobs of a visitor that may wait", 5, minimum=1)
    max_job_minutes: float = option("time limit of a job other than a training", 120.0, unit="minutes", minimum=0.01)
    max_job_gb: float = option("memory limit of a job, except for trainings (Linux)", 16.0, unit="GB", minimum=1)
    keep_hours: float = option("delete uploads and results after this time", 24.0, unit="hours", minimum=0.001)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_root and not self.train_root.is_dir():
            raise InputError(f"--train_root {self.train_root}: is not a folder")
        if not (is_loopback(self.host) or self.auth or self.open):
            raise InputError(f"--host {self.host}: lets others in; give --auth, or --open to let them in unasked")

    def users(self) -> dict[str, str]:
        """Passwords by user, the owner first; empty: no login."""
        entries = [entry.partition(":") for entry in os.environ.get(AUTH, "").split()] if self.auth else []
        if self.auth and not (entries and all(all(parts) for parts in entries)):
            raise InputError(f"--auth: set the environment variable {AUTH} to user:password, without spaces in it")
        return {user: password for user, _, password in entries}


class Refused(InputError):
    """A request that is not granted. field: which input is wrong; status: of the answer."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.field, self.status = field, status


def sentence(error: Exception) -> str:
    """What went wrong, for a visitor: settings by their labels, not by their flags, and no paths of the server."""
    if isinstance(error, OSError):
        return f"The server cannot keep the files: {error.strerror}."
    if not isinstance(error, InputError):
        return "The server has made a mistake; tell its owner."
    return without_flags(str(error))


def without_flags(line: str) -> str:
    return FLAG.sub(lambda flag: f"“{flag[1].replace('_', ' ')}”", line)


@dataclass(frozen=True)
class Visitor:
    name: str  # the user, or random
    owner: bool
    folder: Path


def is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


class Site:
    """The folders, cookies and uploads of one server, which holds the lock of --folder."""

    def __init__(self, options: WebOptions) -> None:
        self.options, self.folder, self.users = options, options.folder.resolve(), options.users()
        self.visitors, self.runs, secret = (self.folder / name for name in ("visitors", "runs", "secret"))
        for folder in (self.visitors, self.runs):
            folder.mkdir(parents=True, exist_ok=True)
        if not secret.exists():
            secret.write_text(secrets.token_hex(32))
        self._secret = secret.read_bytes()
        self.devices = [name.strip() for name in options.device.split(",") if name.strip()] or ["auto"]
        for unfinished in self.visitors.glob(f"*/*/{PARTIAL}*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    # Visitors

    def signed(self, text: str) -> str:
        """A code that only this server can make of the text."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    def cookie(self, name: str) -> str:
        """The name, and a code that ends to be valid with the user's password."""
        return f"{quote(name, safe='')}.{self.signed(f'{name} {self.users.get(name)}')}"

    def visitor(self, cookie: str, here: bool) -> Visitor | None:
        """Whose cookie it is. here: whether the request comes from this machine."""
        name = unquote(cookie.rpartition(".")[0])
        if not name or not hmac.compare_digest(cookie.encode(), self.cookie(name).encode()):
            return None
        if self.users and name not in self.users:
            return None
        owner = name == next(iter(self.users)) if self.users else here
        return Visitor(name, owner, self.visitors / hashlib.sha256(name.encode()).hexdigest()[:32])

    def accepts(self, user: str, password: str) -> bool:
        expected = self.users.get(user, "")
        return hmac.compare_digest(password.encode(), expected.encode()) and bool(expected)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server; a name from elsewhere may lead here by a trick (DNS rebinding)."""
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        allowed = [self.options.host, *(other.strip() for other in self.options.allowed_hosts.split(","))]
        if is_loopback(name) or (name and name.lower() in map(str.lower, allowed)):
            return True
        with suppress(ValueError):  # an address cannot be rebound
            return bool(ipaddress.ip_address(name.strip("[]"))) and not is_loopback(self.options.host)
        return False

    # Folders of videos to train on

    def video_folders(self) -> dict[str, Path]:
        """The folders in --train_root, by their names."""
        root = self.options.train_root
        return {path.name: path for path in sorted(root.resolve().iterdir()) if path.is_dir()} if root else {}

    def run_folder(self, videos: str) -> Path:
        """Where a training keeps all it makes. videos: name of a folder in --train_root, or ids of uploads."""
        folder = self.video_folders().get(videos, videos)
        return self.runs / hashlib.sha256(str(folder).encode()).hexdigest()[:16]

    def videos(self, videos: str) -> Path:
        """The folder of these videos."""
        return self.video_folders().get(videos, self.run_folder(videos) / "videos")

    # Uploads

    def room(self, visitor: Visitor) -> int:
        """Bytes that the visitor's next upload may have. Raises Refused where there is none."""
        used = sum(path.stat().st_size for path in visitor.folder.glob("uploads/*/file*"))
        left = min(self.options.max_upload_mb * MB, self.options.max_visitor_mb * MB - used)
        if left <= 0:
            raise Refused(f"Your uploads take up the {used / MB:.0f} MB that you have here; delete some.", status=413)
        return left

    def check_disk(self) -> None:
        if shutil.disk_usage(self.folder).free < DISK_RESERVE:
            raise Refused("The server's disk is full. Delete what you no longer need, or try again later.", status=507)

    @contextmanager
    def new_upload(self, visitor: Visitor, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """A file to fill and what is known of it, to be added to. Both are kept if the block ends without an error."""
        shown = clean_name(name)
        self.check_disk()
        about: dict[str, Any] = {"id": secrets.token_hex(16), "name": shown, "created": time.time()}
        folder = visitor.folder / "uploads" / f"{PARTIAL}{about['id']}"
        folder.mkdir(parents=True)
        try:
            yield folder / f"file{media_suffix(shown)}", about
            write_json(folder / "about.json", about)
            folder.rename(folder.with_name(about["id"]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def upload(self, visitor: Visitor, upload: str, field: str | None = None) -> tuple[Path, dict[str, Any]]:
        """The file and what is known of it. Raises Refused where the visitor has no such upload."""
        folder = visitor.folder / "uploads" / upload
        found = sorted(folder.glob("file*")) if re.fullmatch(r"[0-9a-f]{32}", upload) else []
        if not found:
            raise Refused("This file is no longer here; upload it again.", field, 404 if field is None else 400)
        return found[0], read_json(folder / "about.json")

    def uploads(self, visitor: Visitor) -> list[dict[str, Any]]:
        """What is known of all uploads of a visitor, the newest first."""
        found = [read_json(path) for path in visitor.folder.glob("uploads/[0-9a-f]*/about.json")]
        return sorted(found, key=lambda about: -about["created"])


def clean_name(name: str) -> str:
    """An upload's name that every system takes, and that leads nowhere."""
    path = Path(NO_NAME.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip("-. ") or "file")
    return shortened(path.stem, LONGEST_NAME) + shortened(path.suffix, LONGEST_SUFFIX)


def shortened(text: str, most: int) -> str:
    """At most so many bytes of it."""
    return text.encode()[:most].decode(errors="ignore")


def media_suffix(name: str) -> str:
    """The suffix, if it is one of media: no other is kept, since browsers and programs go by it."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in MEDIA_SUFFIXES else ""
