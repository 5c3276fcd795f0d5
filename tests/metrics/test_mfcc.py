"""Sound as the published scorer takes it."""

import numpy as np

from metrics import mfcc as mel_cepstrum
from metrics.mfcc import mfcc


def test_mfccs_are_those_of_the_library_that_the_published_scorer_uses():
    t = np.arange(8000) / 16000
    wav = np.round(32768 * 0.3 * np.sin(2 * np.pi * (200 * t + 1500 * t * t))) / 32768
    columns = mfcc(wav)
    assert columns.shape == (49, 13)
    # python_speech_features 0.6: mfcc(int16 samples, 16000)[30]
    wanted = [21.3371, 9.4304, -27.4451, -31.1167, 1.3234, 28.538, 17.1628, -17.5279, -30.1591, -8.1996, 17.6258,
              14.8977, -7.3451]  # fmt: skip
    np.testing.assert_allclose(columns[30], wanted, atol=1e-3)


def test_mfccs_in_blocks_are_those_of_the_whole(monkeypatch):
    wav = np.random.default_rng(0).normal(0, 0.1, 16_000)
    whole = mfcc(wav)
    monkeypatch.setattr(mel_cepstrum, "BLOCK", 7)
    np.testing.assert_array_equal(mfcc(wav), whole)
