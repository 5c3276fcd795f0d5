"""Settings of web.py."""

import os
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError
from utils.options import Options, option

AUTH = "WAV2LIP_AUTH"  # environment variable: user:password


@dataclass(frozen=True, kw_only=True)
class WebOptions(Options):
    """How the page is served."""

    host: str = option("address to listen on; 0.0.0.0: all addresses of this machine", "127.0.0.1")
    port: int = option("port to listen on", 7860, minimum=1, maximum=65535)
    share: bool = option("make the page public through a tunnel of Gradio that ends after some days", False)
    auth: bool = option(f"ask for user and password; the environment variable {AUTH} holds user:password", False)
    folder: Path = option("folder for uploads, results and the list of jobs", Path("results/web"))
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
