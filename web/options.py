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

    host: str = option("address to listen on; 0.0.0.0: all of this machine's", "127.0.0.1")
    port: int = option("port to listen on", 7860, minimum=1, maximum=65535)
    share: bool = option("reachable from anywhere, through a tunnel of Gradio's that ends after some days", False)
    auth: bool = option(
        f"ask for the user and password that the environment variable {AUTH} holds, as user:password", False
    )
    folder: Path = option("uploads, results and the list of jobs", Path("results/web"))
    device: str = option(
        "where jobs run: auto, or several with commas, such as cuda:0,cuda:1; one job at a time on each", "auto"
    )
    train_root: Path | None = option(
        "folder whose sub-folders of videos may be trained on from the page; else nothing can be trained", None
    )
    max_upload_mb: int = option("largest file that can be uploaded", 500, unit="MB", minimum=1)
    max_seconds: float = option("longest video or speech that is taken", 600.0, unit="seconds", minimum=1)
    keep_hours: float = option("uploads and results are deleted after so long", 24.0, unit="hours", minimum=0.01)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_root and not self.train_root.is_dir():
            raise InputError(f"--train_root {self.train_root}: is no folder")

    def login(self) -> tuple[str, str] | None:
        """User and password, None where nobody is asked. Raises InputError where they are wanted and not given."""
        if not self.auth:
            return None
        user, colon, password = os.environ.get(AUTH, "").partition(":")
        if not (user and colon and password):
            raise InputError(f"--auth: set the environment variable {AUTH} to user:password")
        return user, password
