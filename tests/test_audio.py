"""Sound in, level and speech checks, and where a dubbed frame's mel starts."""

import numpy as np
import pytest

import audio
from portrait import SPEECH

RATE = 16_000


def test_saved_sound_is_read_back_at_the_same_level(tmp_path):
    wav = (0.3 * np.sin(np.arange(RATE) * 0.05)).astype(np.float32)
    audio.save_wav(wav, tmp_path / "a b.wav", RATE)
    assert np.abs(audio.load_wav(tmp_path / "a b.wav", RATE) - wav).max() < 1e-4


def test_speech_too_short_for_one_window_is_refused():
    with pytest.raises(ValueError, match="shorter than one FFT window"):
        audio.melspectrogram(np.zeros(100, np.float32))


@pytest.mark.parametrize(
    ("wav", "said"),
    [
        (np.zeros(RATE), "silent"),
        (1e-4 * np.random.default_rng(0).standard_normal(RATE), "silent"),
        (0.3 * np.sin(np.arange(2 * RATE) * 0.17), "one level"),
        (0.1 * np.random.default_rng(0).standard_normal(2 * RATE), "one level"),
    ],
    ids=["zeros", "hiss", "tone", "noise"],
)
def test_sound_that_is_no_speech_is_told(wav, said):
    assert said in audio.speech_problem(audio.frame_powers([wav.astype(np.float32)]))


def test_speech_is_taken_for_speech_and_blocks_do_not_matter():
    wav = audio.load_wav(SPEECH, RATE)
    whole = audio.frame_powers([wav])
    assert audio.speech_problem(whole) is None
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
