"""The weights that come with the project, and the demonstration that they make."""

import json

import audio
import checkpoint
import inference
import weights
from demo import showcase
from demo.portrait import SPEECH
from models import SyncNet_color, Wav2Lip


def test_the_demonstration_dubs_the_portrait_and_prints_its_score(tmp_path, monkeypatch, capsys):
    speech = tmp_path / "speech.wav"
    audio.save_wav(audio.load_wav(SPEECH, 16000)[: 2 * 16000], speech, 16000)
    for name, value in (
        ("OUT", tmp_path),
        ("FACE", tmp_path / "p.mp4"),
        ("AUDIO", speech),
        ("DUBBED", tmp_path / "d.mp4"),
    ):
        monkeypatch.setattr(showcase, name, value)
    monkeypatch.setattr(weights, "generator_there", lambda: weights.BUNDLED_GENERATOR)
    monkeypatch.setattr(weights, "scorers_there", lambda: [weights.BUNDLED_EXPERT])
    inference.demonstrate(inference.parse_args(["--demo"]))
    said = capsys.readouterr().out
    assert f"generator: {weights.BUNDLED_GENERATOR}" in said
    assert "LSE-D" in said
    assert json.loads((tmp_path / "d.mp4.json").read_text())["dubbed"] == 50
    assert showcase.strip((tmp_path / "p.mp4",)).shape[0] == 180


def test_the_bundled_weights_load_and_are_small():
    for path, network in ((weights.BUNDLED_EXPERT, SyncNet_color), (weights.BUNDLED_GENERATOR, Wav2Lip)):
        loaded, hp = checkpoint.load_network(path, network)
        assert hp.width < 1
        assert path.stat().st_size < 20_000_000
        assert not loaded.training
