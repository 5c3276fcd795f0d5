"""The page served by web.py in a process of its own, and a real browser to look at it: a plugin of the tests."""

import ctypes
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PR_CAPBSET_DROP, CAP_SYS_NICE = 24, 23  # linux/prctl.h, linux/capability.h
PATIENCE = 120_000  # milliseconds, for a busy machine
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a microphone that beeps
]  # fmt: skip


class Server:
    """web.py in a process of its own, on a free port."""

    def __init__(self, folder: Path, *flags: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = flags[flags.index("--port") + 1] if "--port" in flags else free.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        command = [sys.executable, "web.py", "--port", str(port), "--folder", str(folder), *flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        for _ in range(1200):  # on a busy machine
            try:
                assert self.get("/health").text == "ok"
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        self.kill()
        raise AssertionError(self.log.read_text())

    def get(self, path: str) -> SimpleNamespace:
        """status and text of an answer."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=30) as answer:
                return SimpleNamespace(status=answer.status, text=answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            return SimpleNamespace(status=error.code, text=error.read().decode(errors="replace"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if "chromium" in item.fixturenames:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip("fastapi", reason="web.py needs requirements-web.txt")
    folder = tmp_path_factory.mktemp("web")
    videos = folder / "videos"
    videos.mkdir()
    served = Server(folder / "served", "--max_upload_mb", "2", "--max_seconds", "60", "--train_root", str(videos))
    served.videos = videos
    yield served
    served.kill()


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs requirements-dev.txt")
    if sys.platform == "linux":  # as root, Chromium would take real-time priority from the server that it waits for
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_NICE)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """Load the page as a new visitor; visit(path, **settings of the browser) -> a Playwright page."""
    contexts = []

    def new_visitor(path="/", **settings):
        context = chromium.new_context(viewport={"width": 1200, "height": 1000}, **settings)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto(server.address + path)
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield new_visitor
    for context in contexts:
        context.close()
