"""The speech of a dub: where it is silent, how loud it is heard, when it begins."""

import numpy as np
import pytest
import soundfile

import audio
from dubbing.options import Options
from dubbing.speech import SHORTEST_REST, fade_silence, load_speech, speech_gate
from footage import recording
from hparams import hparams
from portrait import SPEECH

RATE = 16_000
REST, MODEL = Options(), Options(silence="model")


def test_the_mouth_rests_in_silence_and_not_in_short_pauses(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    noise = np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32)
    audio.save_wav(np.concatenate([wav, noise, wav]), tmp_path / "pause.wav", RATE)
    rest, model = (load_speech(tmp_path / "pause.wav", how, hparams) for how in (REST, MODEL))
    silent = slice(round(1.3 * 80), round(1.7 * 80))
    assert (rest.mel[:, silent] == -hparams.max_abs_value).all()
    assert model.mel[:, silent].std() > 0.1
    assert np.array_equal(rest.mel[:, 16:60], model.mel[:, 16:60])
    assert 0.2 < rest.silent < 0.4
    powers = np.ones(80)  # 4 s, of 50 ms each
    powers[20:24] = powers[40:56] = 1e-9  # pauses of 0.2 s and 0.8 s
    gate = speech_gate(powers, 320, hparams)
    assert SHORTEST_REST > 0.2
    assert gate[:140].min() > 0.999
    assert (gate[180:200] == 0).all()
    assert np.abs(np.diff(gate)).max() < 0.2
    assert np.abs(np.diff(fade_silence(np.zeros((80, 3)), np.array([0, 0.5, 1]), hparams)[0])).max() == 2


def test_quiet_speech_is_heard_as_if_it_were_not_quiet_unless_its_level_is_kept(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 3 * RATE]
    pause = np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32)
    for name, level in (("plain", 1.0), ("quiet", 0.03)):  # 30 dB
        soundfile.write(tmp_path / f"{name}.wav", np.concatenate([wav, pause, wav]) * level, RATE, subtype="FLOAT")
    plain, quiet = (load_speech(tmp_path / f"{name}.wav", REST, hparams) for name in ("plain", "quiet"))
    assert plain.raised == 0.0
    assert quiet.raised == pytest.approx(30, abs=2)
    assert quiet.silent == pytest.approx(plain.silent, abs=0.02)  # the silence detector's floor follows
    spoken = slice(16, 120)
    difference = 8 / 100 * (quiet.raised + 20 * np.log10(0.03))  # of the mels' -4..4
    assert np.abs(quiet.mel[:, spoken] - plain.mel[:, spoken] - difference).mean() < 0.05
    kept = load_speech(tmp_path / "quiet.wav", Options(silence="model", level="keep"), hparams)
    assert kept.raised == 0.0
    assert np.array_equal(kept.mel, audio.melspectrogram(audio.load_wav(tmp_path / "quiet.wav", RATE)))


def test_speech_that_starts_late_in_its_file_is_silent_till_then(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    recording(tmp_path / "late.mkv", "flac", RATE, wav, delay=0.5)
    late = load_speech(tmp_path / "late.mkv", MODEL, hparams)
    assert late.seconds == pytest.approx(1.5, abs=0.01)
    assert (late.mel[:, : round(0.47 * 80)] == -hparams.max_abs_value).all()
    own = load_speech(tmp_path / "a.wav", MODEL, hparams)
    assert np.abs(late.mel[:, 44:116] - own.mel[:, 4:76]).max() < 0.2


def test_speech_in_loud_music_is_doubted_and_not_refused(tmp_path, capsys):
    chord = sum(np.sin(2 * np.pi * pitch * np.arange(2 * RATE) / RATE) for pitch in (220, 277, 330))
    audio.save_wav(0.1 * audio.load_wav(SPEECH, RATE)[: 2 * RATE] + 0.2 * chord, tmp_path / "bed.wav", RATE)
    speech = load_speech(tmp_path / "bed.wav", REST, hparams)
    assert speech.seconds == pytest.approx(2.0)
    assert any("one level" in finding for finding in speech.findings)
    assert "bed.wav" in capsys.readouterr().err
