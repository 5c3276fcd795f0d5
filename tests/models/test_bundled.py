"""The weights that come with the project, and the demonstration that they make."""

import json
import sys
from types import SimpleNamespace

import pytest

import inference
from demo import showcase
from dubbing import Options, networks
from media.reader import VideoReader
from models import published

SURE = 0.5  # confidence of the bundled expert; of recordings in sync it has some 0.6


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
        assert score["sync"][0]["lse_c"] > SURE
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
