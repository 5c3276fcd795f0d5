"""Sound in, level and speech checks, and where a dubbed frame's mel starts."""

import librosa
import numpy as np
import pytest
import torch

import audio
from hparams import hparams
from portrait import SPEECH

RATE = 16_000


def test_saved_sound_is_read_back_at_the_same_level(tmp_path):
    wav = (0.3 * np.sin(np.arange(RATE) * 0.05)).astype(np.float32)
    audio.save_wav(wav, tmp_path / "a b.wav", RATE)
    assert np.abs(audio.load_wav(tmp_path / "a b.wav", RATE) - wav).max() < 1e-4


def test_speech_too_short_for_one_window_is_refused():
    with pytest.raises(ValueError, match="shorter than one FFT window"):
        audio.melspectrogram(np.zeros(100, np.float32))


@pytest.mark.parametrize("changes", ["", "num_mels=40,fmin=0,fmax=4000,n_fft=1024", "sample_rate=22050,fmax=11000"])
def test_mel_bands_are_librosas(changes):
    hp = hparams.override(changes)
    wanted = librosa.filters.mel(sr=hp.sample_rate, n_fft=hp.n_fft, n_mels=hp.num_mels, fmin=hp.fmin, fmax=hp.fmax)
    np.testing.assert_allclose(audio._mel_basis(hp), wanted, rtol=1e-6, atol=1e-10)


def test_the_spectrum_is_pytorchs_with_a_window_shorter_than_the_transform():
    hp = hparams.override("n_fft=1024")
    assert np.allclose(audio._hann(hp)[112:912], torch.hann_window(800).numpy(), atol=1e-7)
    assert (audio._hann(hp)[:112] == 0).all()
    wav = audio.load_wav(SPEECH, RATE)[:RATE]
    emphasised = np.append(wav[:1], wav[1:] - hp.preemphasis * wav[:-1]).astype(np.float32)
    spectrum = torch.stft(
        torch.from_numpy(np.pad(emphasised, 512, mode="reflect")), 1024, 200, 800, torch.hann_window(800),
        center=False, return_complex=True,
    ).abs().numpy()  # fmt: skip
    wanted = audio._normalised_db(audio._mel_basis(hp) @ spectrum, hp)
    np.testing.assert_allclose(audio.melspectrogram(wav, hp), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("wav", "silent"),
    [
        (np.zeros(RATE), True),
        (1e-4 * np.random.default_rng(0).standard_normal(RATE), True),
        (0.3 * np.sin(np.arange(2 * RATE) * 0.17), False),
        (0.1 * np.random.default_rng(0).standard_normal(2 * RATE), False),
    ],
    ids=["zeros", "hiss", "tone", "noise"],
)
def test_silence_and_sound_of_one_level_are_told(wav, silent):
    powers = audio.frame_powers([wav.astype(np.float32)])
    assert audio.is_silent(powers) == silent
    assert silent or "one level" in audio.speech_doubt(powers)


def test_speech_is_taken_for_speech_and_blocks_do_not_matter():
    wav = audio.load_wav(SPEECH, RATE)
    whole = audio.frame_powers([wav])
    assert not audio.is_silent(whole)
    assert audio.speech_doubt(whole) is None
    assert np.allclose(audio.frame_powers(np.array_split(wav, 37)), whole)


def test_dubbed_frames_use_the_mel_start_of_training():
    for frame in range(1, 60):
        assert audio.dub_mel_start(frame / 25, 1000) == audio.window_mel_start(frame - 1)
    assert audio.dub_mel_start(0.0, 1000) == 0
    assert audio.dub_mel_start(100.0, 200) == 200 - 16


def test_quiet_noise_is_no_speech_however_it_varies():
    levels = np.tile([-58.0, -64.0, -90.0], 20)  # dBFS
    powers = 10 ** (levels / 10)
    assert not audio.speech_frames(powers).any()
    assert audio.speech_frames(powers * 1000).sum() == 40  # 30 dB louder: all but the softest


def gain(wav: np.ndarray) -> float:
    wav = wav.astype(np.float32)
    return audio.speech_gain(audio.frame_powers([wav]), [wav])


def test_quiet_speech_is_raised_to_one_level_and_other_speech_is_not_touched():
    wav = audio.load_wav(SPEECH, RATE)
    powers = audio.frame_powers([wav])
    level = audio.loudness_dbfs(powers[audio.speech_frames(powers)])
    for attenuation in (-8, -5, 0, 5):  # decibels; the first two are louder
        assert audio.amplified(wav, gain(wav * 10 ** (-attenuation / 20))) is wav
    for attenuation in (7, 12, 25, 35):
        raised = gain(wav * 10 ** (-attenuation / 20))
        assert level - attenuation + raised == pytest.approx(audio.SPEECH_DBFS, abs=0.1)
    assert gain(wav * 1e-5) == audio.MOST_RAISED_DB


def test_the_level_of_speech_does_not_depend_on_blocks_or_on_the_silence_around_it():
    wav = audio.load_wav(SPEECH, RATE) * np.float32(0.03)
    blocks = np.array_split(wav, 37)
    assert audio.speech_gain(audio.frame_powers(blocks), blocks) == gain(wav)
    assert gain(np.concatenate([np.zeros(4 * RATE), wav])) == pytest.approx(gain(wav), abs=0.5)


@pytest.mark.parametrize("tilt", [0.0, 0.5, 1.0, 1.5], ids=["white", "pink", "brown", "rumble"])
def test_noise_is_never_raised_however_it_varies(tilt):
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(8 * RATE))
    noise = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)) / 8, 20.0) ** -tilt)
    gusts = np.repeat(rng.uniform(0.03, 1, 80), RATE // 10)
    assert gain(noise / np.abs(noise).max() * 0.01) == gain(noise / np.abs(noise).max() * 0.01 * gusts) == 0.0


def test_clicks_hum_and_nothing_are_not_raised():
    clicks = 1e-5 * np.random.default_rng(0).standard_normal(2 * RATE)
    clicks[::4000] += 0.01
    hum = 0.003 * sum(np.sin(np.arange(2 * RATE) * 2 * np.pi * 50 * k / RATE) / k for k in (1, 2, 3, 5))
    assert gain(clicks) == gain(hum) == gain(np.zeros(RATE)) == gain(np.zeros(0)) == 0.0
