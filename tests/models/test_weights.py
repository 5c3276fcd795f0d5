"""Weights are fetched, checked by hash and put in place; the demonstration that the bundled ones make."""

import hashlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import inference
from demo import showcase
from dubbing import Options, networks
from media.reader import VideoReader
from metrics import EvaluationOptions
from metrics.sync import Expert
from models import published
from models.published import ensure_weights
from utils.errors import InputError
from utils.files import sha256

CONTENT = np.random.default_rng(0).bytes(300_000)
PAGE, POINTER = b"<!DOCTYPE html><title>Download</title>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"


def entry(name: str, mirrors: tuple = ()) -> published.PublishedFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return published.PublishedFile(name, f"checkpoints/{name}.pth", len(CONTENT), digest, mirrors, "a thing", "free")


@pytest.fixture
def mirror(tmp_path) -> Path:
    """The file behind a mirror."""
    path = tmp_path / "mirror" / "thing.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def thing(tmp_path, monkeypatch, mirror):
    """One made-up published file whose mirrors are a dead one and one that has it, and no other."""
    thing = entry("thing", ("http://127.0.0.1:9/x", mirror.as_uri()))
    monkeypatch.setattr(published, "ROOT", tmp_path)
    monkeypatch.setattr(published, "PUBLISHED", (thing,))
    monkeypatch.setattr(published, "BUNDLED", ())
    return thing


@pytest.mark.parametrize("served", [b"x" * len(CONTENT), CONTENT[:1000], None], ids=["another", "cut off", "nothing"])
def test_what_cannot_be_fetched_is_one_line_and_the_next_is_fetched(thing, tmp_path, monkeypatch, script, served):
    path = tmp_path / "gone.pth"
    monkeypatch.setattr(published, "PUBLISHED", (entry("gone", (path.as_uri(),)), thing))
    if served:
        path.write_bytes(served)
    result = script("weights", "fetch", "gone")
    assert (result.code, list(thing.path.parent.iterdir())) == (2, [])
    assert re.fullmatch(rf"error: gone: .+; download {path.as_uri()} .+ checkpoints/gone.pth", result.error)
    assert script("weights", "fetch", "gone", "thing").code == 1
    assert thing.path.read_bytes() == CONTENT


def test_a_file_is_fetched_from_the_first_mirror_that_has_it_or_imported_whatever_its_name(thing, tmp_path, script):
    assert script("weights", "fetch", "thing").code == 0
    assert thing.path.read_bytes() == CONTENT
    assert "1 of 1 files exist, all as published" in script("weights", "verify").out
    assert "exists already" in script("weights", "fetch", "thing").out
    thing.path.unlink()
    path = tmp_path / "download (1).bin"
    path.write_bytes(CONTENT)
    assert script("weights", "import", path).code == 0
    assert thing.path.read_bytes() == CONTENT
    wrong = {"a.pth": (b"other", "need no import"), "thing.pth": (CONTENT[:1000], "1,000 of 300,000 bytes")}
    wrong |= {"b.pth": (PAGE, "is a web page"), "c.pth": (POINTER, "is a Git LFS pointer")}
    for name, (content, said) in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert said in script("weights", "import", tmp_path / name).error


@pytest.mark.parametrize(("content", "what"), [(PAGE, "a web page"), (CONTENT[:99], "another file")])
def test_what_lies_in_a_files_place_without_being_it_is_said(thing, monkeypatch, script, content, what):
    thing.path.parent.mkdir()
    thing.path.write_bytes(content)
    assert re.search(rf"not it \({what}.*, {len(content)} bytes\)", script("weights", "list").out)
    assert f"checkpoints/thing.pth ({what}" in script("weights", "verify").error
    fetched = script("weights", "fetch", "thing")
    assert (fetched.code, thing.path.read_bytes()) == (2, content)
    assert what in fetched.error
    monkeypatch.setattr(published, "PUBLISHED", ())
    monkeypatch.setattr(published, "BUNDLED", (entry("thing"),))
    error = script("weights", "verify").error
    assert ("git checkout" in error, "fetch" in error) == (True, False)


def test_the_list_names_every_file_and_unknown_names_are_refused(script):
    listing = script("weights", "list").out
    files = (*published.PUBLISHED, *published.BUNDLED)
    for file in files:
        assert all(text in listing for text in (file.file, file.licence, file.sha256))
        assert file.path.parent.is_dir()
    assert all(mirror.startswith("https://") for file in published.PUBLISHED for mirror in file.mirrors)
    for file in published.BUNDLED:
        assert (file.path.stat().st_size, sha256(file.path)) == (file.size, file.sha256)
    assert len({file.sha256 for file in files}) == len(files)
    assert "choose from" in script("weights", "fetch", "wav2lips").error


def test_missing_weights_are_fetched_on_demand_and_used_from_their_place(thing, tmp_path, monkeypatch):
    options = Options(checkpoint_path=tmp_path / "elsewhere" / "thing.pth")
    monkeypatch.setenv("WORLD_SIZE", "2")  # processes of torchrun fetch nothing
    with pytest.raises(InputError, match="fetch thing"):
        ensure_weights(options, fetch_missing=True)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(InputError, match="fetch thing"):
        ensure_weights(options)
    assert ensure_weights(options, fetch_missing=True).checkpoint_path == thing.path
    assert thing.path.read_bytes() == CONTENT
    assert ensure_weights(options).checkpoint_path == thing.path


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
    monkeypatch.setattr(published, "ROOT", tmp_path)  # where none of them is
    (tmp_path / "LICENSE").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        ensure_weights(options)


@pytest.mark.slow
def test_the_demonstration_dubs_people_in_sync_and_says_what_to_open(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(showcase, "PEOPLE", showcase.PEOPLE[1:])
    monkeypatch.setattr(showcase, "OUT", tmp_path)
    monkeypatch.setattr(networks, "default_generator", lambda: published.BUNDLED_GENERATOR)
    monkeypatch.setattr(showcase, "default_scorers", lambda: [published.BUNDLED_EXPERT])
    assert inference.demonstrate(SimpleNamespace(json=False), Options(), sys.stdout) == 0
    said = capsys.readouterr().out
    assert f"weights: {published.BUNDLED_GENERATOR.name}" in said
    assert said.splitlines()[-1] == f"open {tmp_path / 'index.html'} in a browser"
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    for person, score in zip(showcase.PEOPLE, scores[1::2], strict=True):
        assert score["video"] == str(person.dubbed)
        assert abs(score["sync"][0]["offset"]) <= 1
        assert score["sync"][0]["lse_c"] > Expert.good_confidence
        assert json.loads(person.dubbed.with_name(f"{person.dubbed.name}.json").read_text())["dubbed"] in (74, 75)
        assert VideoReader(person.beside).has_sound
        assert f'src="{person.beside.name}"' in page


def test_what_the_demonstration_shows_is_small_and_attributed():
    attribution = (showcase.FOLDER / "README.md").read_text(encoding="utf-8")
    for person in showcase.PEOPLE:
        for path in (person.face, person.speech):
            assert path.stat().st_size < 500_000
            assert f"`{path.name}`" in attribution
        assert person.said in attribution
        assert person.dubbed_with in attribution
    assert all(text in attribution for text in ("Cooke", "CC BY 4.0", "3625687"))
    assert (showcase.ROOT / "docs" / "demo.webp").stat().st_size < 1_500_000
