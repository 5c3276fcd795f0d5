"""Weight files are fetched, resumed, checked by hash and put in place; nothing unverified gets the final name."""

import dataclasses
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

import weights
from models import download
from models import published as registry

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; each answer breaks off after `limit` bytes."""

    limit = len(CONTENT)
    content = CONTENT
    asked: tuple = ()

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        type(self).asked += (start,)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : start + self.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    class Fresh(Handler):
        pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    yield Fresh, f"http://127.0.0.1:{http_server.server_port}"
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def publish(monkeypatch, entry) -> None:
    for module in (registry, download, weights):
        monkeypatch.setattr(module, "PUBLISHED", (entry,))


@pytest.fixture
def published(tmp_path, monkeypatch, server):
    """One made-up published file whose mirrors are a dead one and the local server."""
    entry = registry.PublishedFile(
        "thing", "checkpoints/thing.pth", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(),
        (f"{server[1]}/missing", f"{server[1]}/thing.pth"), "a thing",
    )  # fmt: skip
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    publish(monkeypatch, entry)
    return entry


def test_a_file_is_fetched_from_the_first_mirror_that_has_it(published, script):
    result = script("weights", "fetch", "thing")
    assert result.code == 0
    assert published.path.read_bytes() == CONTENT
    assert "1 of 1 files are there, all as published" in script("weights", "verify").out
    assert "there already" in script("weights", "fetch", "thing").out


def test_an_interrupted_download_goes_on_where_it_was(published, server, script):
    server[0].limit = 1_300_000
    assert script("weights", "fetch", "thing").code == 2
    assert not published.path.exists()
    server[0].limit = len(CONTENT)
    assert script("weights", "fetch", "thing").code == 0
    assert server[0].asked == (0, 1_300_000)
    assert published.path.read_bytes() == CONTENT


def test_another_file_under_the_address_is_not_taken(published, server, script):
    server[0].content = b"x" * len(CONTENT)
    result = script("weights", "fetch", "thing")
    assert result.code == 2
    assert "another file is served" in result.error
    assert not list(published.path.parent.iterdir())


def test_without_a_network_the_address_and_the_place_are_named(published, monkeypatch, script):
    offline = dataclasses.replace(published, mirrors=("http://127.0.0.1:9/thing.pth",))
    publish(monkeypatch, offline)
    result = script("weights", "fetch", "thing")
    assert result.code == 2
    assert "http://127.0.0.1:9/thing.pth" in result.error
    assert "checkpoints/thing.pth" in result.error
    assert "\n" not in result.error


def test_a_page_for_browsers_is_not_downloaded(published, monkeypatch, script):
    page = dataclasses.replace(published, mirrors=("https://drive.google.com/file/d/x",))
    publish(monkeypatch, page)
    assert "with a browser" in script("weights", "fetch", "thing").error


def test_a_file_is_imported_whatever_its_name(published, tmp_path, script):
    (tmp_path / "download (1).bin").write_bytes(CONTENT)
    assert script("weights", "import", tmp_path / "download (1).bin").code == 0
    assert published.path.read_bytes() == CONTENT
    (tmp_path / "other.pth").write_bytes(b"other")
    assert "none of the published files" in script("weights", "import", tmp_path / "other.pth").error


def test_a_damaged_file_is_found(published, script):
    published.path.parent.mkdir()
    published.path.write_bytes(b"damaged")
    result = script("weights", "verify")
    assert result.code == 2
    assert "checkpoints/thing.pth" in result.error


def test_the_list_names_every_file_and_unknown_names_are_refused(script):
    listing = script("weights", "list").out
    assert all(entry.file in listing for entry in registry.PUBLISHED)
    for entry in registry.PUBLISHED:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.path.parent.is_dir()
        assert entry.mirrors
        assert all(mirror.startswith("https://") for mirror in entry.mirrors)
    assert len({entry.sha256 for entry in registry.PUBLISHED}) == len(registry.PUBLISHED)
    assert "choose from" in script("weights", "fetch", "wav2lips").error
