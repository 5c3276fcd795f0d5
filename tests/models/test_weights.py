"""Weight files are fetched, resumed, checked by hash and put in place; nothing unverified gets the final name."""

import dataclasses
import hashlib
import http.server
import io
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from dubbing import Options
from metrics.options import EvaluationOptions
from models import published as registry
from models.missing import with_weights
from training.options import GeneratorOptions
from utils.errors import InputError
from utils.files import sha256

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
    monkeypatch.setattr(registry, "PUBLISHED", (entry,))
    monkeypatch.setattr(registry, "BUNDLED", ())


@pytest.fixture
def published(tmp_path, monkeypatch, server):
    """One made-up published file whose mirrors are a dead one and the local server."""
    entry = registry.PublishedFile(
        "thing", "checkpoints/thing.pth", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(),
        (f"{server[1]}/missing", f"{server[1]}/thing.pth"), "a thing", "free",
    )  # fmt: skip
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    publish(monkeypatch, entry)
    return entry


def test_a_file_is_fetched_from_the_first_mirror_that_has_it(published, script):
    result = script("weights", "fetch", "thing")
    assert result.code == 0
    assert published.path.read_bytes() == CONTENT
    assert "1 of 1 files" in script("weights", "verify").out
    assert "exists already" in script("weights", "fetch", "thing").out


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


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """One made-up bundled file, which is there, and no published one."""
    entry = registry.PublishedFile(
        "small", "checkpoints/small.safetensors", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), (), "small", "MIT"
    )
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "PUBLISHED", ())
    monkeypatch.setattr(registry, "BUNDLED", (entry,))
    entry.path.parent.mkdir()
    entry.path.write_bytes(CONTENT)
    return entry


def test_bundled_files_are_verified_and_come_back_by_git(bundled, script):
    assert "1 of 1 files" in script("weights", "verify").out
    bundled.path.write_bytes(CONTENT[:-1])
    error = script("weights", "verify").error
    assert bundled.file in error
    assert "git checkout" in error
    assert "fetch" not in error


def test_listing_and_checking_weights_need_no_pytorch():
    blocked = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path('weights.py', run_name='__main__')"
    for command, said in (("list", "Wav2Lip-SD-GAN"), ("verify", "all as published")):
        result = subprocess.run(
            [sys.executable, "-c", blocked, command], cwd=registry.ROOT, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert said in result.stdout


def test_the_list_names_every_file_and_unknown_names_are_refused(script):
    listing = script("weights", "list").out
    files = (*registry.PUBLISHED, *registry.BUNDLED)
    for entry in files:
        assert all(text in listing for text in (entry.file, entry.licence, entry.sha256))
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.path.parent.is_dir()
    for entry in registry.PUBLISHED:
        assert entry.mirrors
        assert all(mirror.startswith("https://") for mirror in entry.mirrors)
    for entry in registry.BUNDLED:
        assert entry.path.stat().st_size == entry.size
        assert sha256(entry.path) == entry.sha256
    assert len({entry.sha256 for entry in files}) == len(files)
    assert "choose from" in script("weights", "fetch", "wav2lips").error


def test_one_file_that_cannot_be_fetched_is_one_line_and_the_next_is_fetched(published, monkeypatch, script):
    gone = dataclasses.replace(published, name="gone", file="checkpoints/gone.pth", mirrors=("http://127.0.0.1:9/x",))
    monkeypatch.setattr(registry, "PUBLISHED", (gone, published))
    result = script("weights", "fetch", "gone", "thing")
    assert result.code == 1
    assert re.fullmatch(r"error: gone: 127\.0\.0\.1: .+; download .+", result.error)
    assert published.path.read_bytes() == CONTENT
    assert script("weights", "fetch", "gone").code == 2


PAGE, POINTER = b"<!DOCTYPE html><title>Download</title>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [(PAGE, "a web page"), (POINTER, "a Git LFS pointer"), (b"", "empty"), (CONTENT[:99], "another file")],
)
def test_what_lies_in_a_files_place_without_being_it_is_said(published, script, content, what):
    published.path.parent.mkdir()
    published.path.write_bytes(content)
    assert re.search(rf"not it \({what}.*, {len(content)} bytes\)", script("weights", "list").out)
    assert f"checkpoints/thing.pth ({what}" in script("weights", "verify").error
    fetched = script("weights", "fetch", "thing")
    assert (fetched.code, published.path.read_bytes()) == (2, content)
    assert what in fetched.error


@pytest.mark.parametrize(("content", "what"), [(PAGE, "is a web page"), (POINTER, "is a Git LFS pointer")])
def test_an_import_of_what_is_no_weights_says_what_it_is(published, tmp_path, script, content, what):
    (tmp_path / "thing.pth").write_bytes(content)
    assert what in script("weights", "import", tmp_path / "thing.pth").error


def test_an_import_of_a_part_says_how_much_is_missing(published, tmp_path, script):
    (tmp_path / "thing.pth").write_bytes(CONTENT[:1_000_000])
    error = script("weights", "import", tmp_path / "thing.pth").error
    assert "1,000,000 of 3,000,000 bytes" in error


def test_other_weights_need_no_import(published, tmp_path, script):
    torch.save({"a": torch.ones(1)}, tmp_path / "mine.pth")
    assert "need no import" in script("weights", "import", tmp_path / "mine.pth").error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_terminal(monkeypatch, answer: str) -> Terminal:
    """stdin and stderr are a terminal in which `answer` is typed; returns what is shown there."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_missing_weights_are_fetched_with_yes_and_used_from_their_place(published, tmp_path):
    options = Options(checkpoint_path=tmp_path / "elsewhere" / "thing.pth")
    assert with_weights(options, yes=True).checkpoint_path == published.path
    assert published.path.read_bytes() == CONTENT


def test_a_terminal_is_asked_with_size_and_licence(published, monkeypatch):
    options = Options(checkpoint_path="checkpoints/thing.pth")
    shown = in_terminal(monkeypatch, "n\n")
    with pytest.raises(InputError, match="fetch thing` gets it"):
        with_weights(options)
    assert shown.getvalue().endswith("Fetch thing now (3 MB; free)? [y/N] ")
    in_terminal(monkeypatch, "y\n")
    assert with_weights(options).checkpoint_path == published.path


def test_processes_of_torchrun_fetch_nothing(published, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="fetch thing"):
        with_weights(Options(checkpoint_path="thing.pth"), yes=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(checkpoint_path="x/wav2lip_gan.pth"),
         "--checkpoint_path x/wav2lip_gan.pth: no such file; `python weights.py fetch wav2lip_gan` gets it (436 MB, as "
         "checkpoints/wav2lip_gan.pth), or leave the flag out"),
        (Options(checkpoint_path="x/Wav2Lip-SD-GAN.pt"), "with a browser, then run `python weights.py import FILE`"),
        (Options(checkpoint_path="x/wav2lip_small.safetensors"), "`git checkout checkpoints/wav2lip_small"),
        (Options(checkpoint_path="x/mine.pth"), "--checkpoint_path x/mine.pth: no such file"),
        (Options(face_detector="sfd"), "fetch s3fd` gets it (90 MB, as face_detection/detection/sfd/s3fd.pth), or use"),
        (GeneratorOptions(data_root="x", checkpoint_dir="x", syncnet_checkpoint_path="lipsync_expert.pth"),
         "fetch lipsync_expert` gets it (197 MB, as checkpoints/lipsync_expert.pth), or give "
         "checkpoints/lipsync_expert_small.safetensors"),
        (GeneratorOptions(data_root="x", checkpoint_dir="x", syncnet_checkpoint_path="LICENSE", gan=True,
                          disc_checkpoint_path="visual_quality_disc.pth"), "fetch visual_quality_disc` gets it"),
        (EvaluationOptions(video="x.mp4", syncnet_checkpoint_path=("LICENSE", "lipsync_expert.pth")),
         "fetch lipsync_expert` gets it"),
    ],
)  # fmt: skip
def test_missing_weights_say_what_to_do(options, said, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "ROOT", tmp_path)  # where none of them is
    (tmp_path / "LICENSE").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(said)):
        with_weights(options)
