"""The weights that come with the project, and the demonstration that they make."""

import json

import pytest

import inference
from demo import showcase
from dubbing import Options, networks
from models import SyncNet_color, Wav2Lip, checkpoint, published


@pytest.mark.slow
def test_the_demonstration_dubs_the_portrait_in_time_and_prints_its_score(tmp_path, monkeypatch, capsys):
    for name, value in (("OUT", tmp_path), ("FACE", tmp_path / "p.mp4"), ("DUBBED", tmp_path / "d.mp4")):
        monkeypatch.setattr(showcase, name, value)
    monkeypatch.setattr(networks, "default_generator", lambda: published.BUNDLED_GENERATOR)
    monkeypatch.setattr(showcase, "default_scorers", lambda: [published.BUNDLED_EXPERT])
    inference.demonstrate(Options(preview=5.0))
    said = capsys.readouterr().out
    assert f"generator: {published.BUNDLED_GENERATOR}" in said
    assert "offset +0 frames, LSE-D" in said  # as the README says
    assert json.loads((tmp_path / "d.mp4.json").read_text())["dubbed"] == 125
    assert showcase.strip((tmp_path / "p.mp4",)).shape[0] == 180


def test_the_bundled_weights_load_and_are_small():
    for path, network in ((published.BUNDLED_EXPERT, SyncNet_color), (published.BUNDLED_GENERATOR, Wav2Lip)):
        loaded, hp = checkpoint.load_network(path, network)
        assert hp.width < 1
        assert path.stat().st_size < 20_000_000
        assert not loaded.training
