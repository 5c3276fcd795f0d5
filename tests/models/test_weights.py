"""Weight files are fetched, checked by hash and put in place; nothing unverified gets the final name."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from dubbing import Options
from metrics.options import EvaluationOptions
from models import published as registry
from models.published import ensure_weights
from utils.errors import InputError
from utils.files import sha256

CONTENT = np.random.default_rng(0).bytes(300_000)
PAGE, POINTER = b"<!DOCTYPE html><title>Download</title>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"


def entry(name: str, mirrors: tuple = ()) -> registry.PublishedFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return registry.PublishedFile(name, f"checkpoints/{name}.pth", len(CONTENT), digest, mirrors, "a thing", "free")


@pytest.fixture
def mirror(tmp_path) -> Path:
    """The file behind a mirror."""
    path = tmp_path / "mirror" / "thing.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def published(tmp_path, monkeypatch, mirror):
    """One made-up published file whose mirrors are a dead one and one that has it, and no other."""
    thing = entry("thing", ("http://127.0.0.1:9/x", mirror.as_uri()))
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "PUBLISHED", (thing,))
    monkeypatch.setattr(registry, "BUNDLED", ())
    return thing


def test_a_file_is_fetched_from_the_first_mirror_that_has_it(published, script):
    assert script("weights", "fetch", "thing").code == 0
    assert published.path.read_bytes() == CONTENT
    assert "1 of 1 files exist, all as published" in script("weights", "verify").out
    assert "exists already" in script("weights", "fetch", "thing").out


@pytest.mark.parametrize("served", [b"x" * len(CONTENT), CONTENT[:1000], None], ids=["another", "cut off", "nothing"])
def test_what_cannot_be_fetched_is_one_line_and_the_next_is_fetched(published, tmp_path, monkeypatch, script, served):
    path = tmp_path / "gone.pth"
    monkeypatch.setattr(registry, "PUBLISHED", (entry("gone", (path.as_uri(),)), published))
    if served:
        path.write_bytes(served)
    result = script("weights", "fetch", "gone")
    assert (result.code, list(published.path.parent.iterdir())) == (2, [])
    assert re.fullmatch(rf"error: gone: .+; download {path.as_uri()} .+ checkpoints/gone.pth", result.error)
    assert script("weights", "fetch", "gone", "thing").code == 1
    assert published.path.read_bytes() == CONTENT


def test_a_file_is_imported_whatever_its_name(published, tmp_path, script):
    path = tmp_path / "download (1).bin"
    path.write_bytes(CONTENT)
    assert script("weights", "import", path).code == 0
    assert published.path.read_bytes() == CONTENT
    wrong = {"a.pth": (b"other", "need no import"), "thing.pth": (CONTENT[:1000], "1,000 of 300,000 bytes")}
    wrong |= {"b.pth": (PAGE, "is a web page"), "c.pth": (POINTER, "is a Git LFS pointer")}
    for name, (content, said) in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert said in script("weights", "import", tmp_path / name).error


@pytest.mark.parametrize(("content", "what"), [(PAGE, "a web page"), (CONTENT[:99], "another file")])
def test_what_lies_in_a_files_place_without_being_it_is_said(published, monkeypatch, script, content, what):
    published.path.parent.mkdir()
    published.path.write_bytes(content)
    assert re.search(rf"not it \({what}.*, {len(content)} bytes\)", script("weights", "list").out)
    assert f"checkpoints/thing.pth ({what}" in script("weights", "verify").error
    fetched = script("weights", "fetch", "thing")
    assert (fetched.code, published.path.read_bytes()) == (2, content)
    assert what in fetched.error
    monkeypatch.setattr(registry, "PUBLISHED", ())
    monkeypatch.setattr(registry, "BUNDLED", (entry("thing"),))
    error = script("weights", "verify").error
    assert ("git checkout" in error, "fetch" in error) == (True, False)


def test_the_list_names_every_file_and_unknown_names_are_refused(script):
    listing = script("weights", "list").out
    files = (*registry.PUBLISHED, *registry.BUNDLED)
    for file in files:
        assert all(text in listing for text in (file.file, file.licence, file.sha256))
        assert file.path.parent.is_dir()
    assert all(mirror.startswith("https://") for file in registry.PUBLISHED for mirror in file.mirrors)
    for file in registry.BUNDLED:
        assert (file.path.stat().st_size, sha256(file.path)) == (file.size, file.sha256)
    assert len({file.sha256 for file in files}) == len(files)
    assert "choose from" in script("weights", "fetch", "wav2lips").error


def test_missing_weights_are_fetched_on_demand_and_used_from_their_place(published, tmp_path, monkeypatch):
    options = Options(checkpoint_path=tmp_path / "elsewhere" / "thing.pth")
    monkeypatch.setenv("WORLD_SIZE", "2")  # processes of torchrun fetch nothing
    with pytest.raises(InputError, match="fetch thing"):
        ensure_weights(options, fetch_missing=True)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(InputError, match="fetch thing"):
        ensure_weights(options)
    assert ensure_weights(options, fetch_missing=True).checkpoint_path == published.path
    assert published.path.read_bytes() == CONTENT
    assert ensure_weights(options).checkpoint_path == published.path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(checkpoint_path="x/wav2lip_gan.pth"), "fetch wav2lip_gan` .*436 MB.* or leave the flag out"),
        (Options(checkpoint_path="x/mine.pth"), "--checkpoint_path x/mine.pth: no such file"),
        (Options(face_detector="sfd"), "fetch s3fd` .* or use retinaface"),
        (EvaluationOptions(video="x.mp4", syncnet_checkpoint_path=("LICENSE", "lipsync_expert.pth")),
         "fetch lipsync_expert` gets it"),
    ],
)  # fmt: skip
def test_missing_weights_say_what_to_do(options, said, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "ROOT", tmp_path)  # where none of them is
    (tmp_path / "LICENSE").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        ensure_weights(options)
