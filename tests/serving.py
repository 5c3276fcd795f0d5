"""The page served by web.py in a process of its own."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent


class Server:
    """web.py in a process of its own, on a free port."""

    def __init__(self, folder: Path, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        command = [sys.executable, "web.py", "--port", str(port), "--folder", str(folder), *flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                assert self.get("/health").text == "ok"
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def get(self, path: str, headers: dict[str, str] | None = None) -> SimpleNamespace:
        """status and text of an answer."""
        request = urllib.request.Request(self.address + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return SimpleNamespace(status=answer.status, text=answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            return SimpleNamespace(status=error.code, text=error.read().decode(errors="replace"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
