"""The mel spectrogram, and what is speech and how loud it is."""

from itertools import pairwise

import librosa
import numpy as np
import pytest
import torch

import audio
from hparams import hparams
from portrait import SPEECH

RATE = 16_000


@pytest.mark.parametrize("changes", ["", "num_mels=40,fmin=0,fmax=4000,n_fft=1024", "sample_rate=22050,fmax=11000"])
def test_the_mel_spectrogram_is_that_of_librosa_and_pytorch(changes):
    hp = hparams.override(changes)
    wav = audio.load_wav(SPEECH, hp.sample_rate)[: hp.sample_rate]
    emphasised = np.append(wav[:1], wav[1:] - hp.preemphasis * wav[:-1]).astype(np.float32)
    padded = torch.from_numpy(np.pad(emphasised, hp.n_fft // 2, mode="reflect"))
    window = torch.hann_window(hp.win_size)
    spectrum = torch.stft(padded, hp.n_fft, hp.hop_size, hp.win_size, window, center=False, return_complex=True).abs()
    bands = librosa.filters.mel(sr=hp.sample_rate, n_fft=hp.n_fft, n_mels=hp.num_mels, fmin=hp.fmin, fmax=hp.fmax)
    decibels = 20 * np.log10(np.maximum(1e-5, bands @ spectrum.numpy())) - 20
    np.testing.assert_allclose(audio.melspectrogram(wav, hp), np.clip(decibels / 12.5 + 4, -4, 4), atol=1e-3)


@pytest.mark.parametrize("changes", ["", "num_mels=40,fmin=0,fmax=4000,n_fft=1024"])
@pytest.mark.parametrize("size", [1, 7, 199, 200, 201, 400, 401, 799, 1000, 16_000, 99_999, None])
def test_sound_that_comes_in_pieces_has_the_mel_spectrogram_of_the_whole(size, changes):
    hp = hparams.override(changes)
    wav = audio.load_wav(SPEECH, RATE)[: RATE // 2 if size == 1 else 3 * RATE]
    whole, stream, places = audio.melspectrogram(wav, hp), audio.MelStream(hp), [0]
    while places[-1] < len(wav):
        places.append(places[-1] + (size or int(np.random.default_rng(len(places)).integers(0, 2000))))
    parts = [stream.add(wav[start:end]) for start, end in pairwise(places)]
    streamed = np.concatenate(parts, axis=1)
    assert streamed.shape[1] == (len(wav) - hp.n_fft // 2) // hp.hop_size + 1
    np.testing.assert_allclose(streamed, whole[:, : streamed.shape[1]], atol=1e-5)
    reached = (places[len(parts) // 2 + 1] - hp.n_fft // 2) // hp.hop_size + 1
    assert sum(part.shape[1] for part in parts[: len(parts) // 2 + 1]) == max(0, min(reached, streamed.shape[1]))
    assert len(stream._kept) < hp.n_fft


def test_silence_and_sound_of_one_level_are_told_from_speech():
    with pytest.raises(ValueError, match="shorter than one FFT window"):
        audio.melspectrogram(np.zeros(100, np.float32))
    rng = np.random.default_rng(0)
    for wav in (np.zeros(RATE), 1e-4 * rng.standard_normal(RATE)):
        assert audio.is_silent(audio.frame_powers(wav))
    for wav in (0.3 * np.sin(np.arange(2 * RATE) * 0.17), 0.1 * rng.standard_normal(2 * RATE)):
        assert audio.speech_doubt(audio.frame_powers(wav))
        assert not audio.is_silent(audio.frame_powers(wav))
    powers = audio.frame_powers(audio.load_wav(SPEECH, RATE))
    assert not audio.is_silent(powers)
    assert audio.speech_doubt(powers) is None


def gain(wav: np.ndarray) -> float:
    return audio.speech_gain(wav.astype(np.float32))


def test_quiet_speech_is_raised_to_one_level_and_other_speech_is_not_touched():
    wav = audio.load_wav(SPEECH, RATE)
    powers = audio.frame_powers(wav)
    level = audio.loudness_dbfs(powers[audio.speech_frames(powers)])
    for attenuation in (-8, -5, 0, 5):  # decibels; the first two are louder
        assert gain(wav * 10 ** (-attenuation / 20)) == 0
    for attenuation in (7, 12, 25, 35):
        raised = gain(wav * 10 ** (-attenuation / 20))
        assert level - attenuation + raised == pytest.approx(audio.SPEECH_DBFS, abs=0.1)
    assert gain(wav * 1e-5) == audio.MOST_RAISED_DB
    quiet = wav * np.float32(0.03)
    assert gain(np.concatenate([np.zeros(4 * RATE), quiet])) == pytest.approx(gain(quiet), abs=0.5)
    columns = [audio.melspectrogram(audio.raise_quiet_speech(sound)[0]) for sound in (wav, quiet)]
    loud = columns[0] > columns[0].mean()
    assert np.abs(columns[0] - columns[1])[loud].max() < 1  # of 8: what is left is the level that loud speech keeps


def test_noise_clicks_and_hum_are_no_speech_and_are_not_raised():
    powers = 10 ** (np.tile([-58.0, -64.0, -90.0], 20) / 10)
    assert not audio.speech_frames(powers).any()
    assert audio.speech_frames(powers * 1000).sum() == 40  # 30 dB louder: all but the softest
    rng = np.random.default_rng(0)
    gusts = np.repeat(rng.uniform(0.03, 1, 80), RATE // 10)
    spectrum = np.fft.rfft(rng.standard_normal(8 * RATE))
    for tilt in (0.0, 0.5, 1.0, 1.5):  # white, pink and brown noise, rumble
        noise = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)) / 8, 20.0) ** -tilt)
        assert gain(noise / np.abs(noise).max() * 0.01) == gain(noise / np.abs(noise).max() * 0.01 * gusts) == 0.0
    clicks = 1e-5 * rng.standard_normal(2 * RATE)
    clicks[::4000] += 0.01
    hum = 0.003 * sum(np.sin(np.arange(2 * RATE) * 2 * np.pi * 50 * k / RATE) / k for k in (1, 2, 3, 5))
    assert gain(clicks) == gain(hum) == gain(np.zeros(RATE)) == gain(np.zeros(0)) == 0.0
