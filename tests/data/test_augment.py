"""Strong augmentation and references with another mouth: what changes, and what changes alike."""

import cv2
import numpy as np
import pytest

import audio
from conftest import NARROW
from data.augment import augment_pictures, perturb_mel
from data.clip import Clip
from data.dataset import ExpertClips, GeneratorWindows
from data.sampling import Key

STRONG = NARROW.override("augment_shape=1,augment_colour=1,augment_sound=1")


def face() -> np.ndarray:
    """A smooth picture with a bright spot at (30, 60)."""
    rows, columns = np.mgrid[0:96, 0:96]
    spot = 150 * np.exp(-((rows - 30) ** 2 + (columns - 60) ** 2) / 50)
    return (60 + spot[..., None] * (1, 0.8, 0.6)).astype(np.uint8)


def test_strong_changes_move_bend_and_recolour_a_face_and_all_its_frames_alike():
    places, means = [], []
    for seed in range(60):
        frames = augment_pictures(np.stack([face()] * 3), STRONG, np.random.default_rng(seed))
        assert frames.dtype == np.uint8
        assert (frames == frames[:1]).all()
        places.append(np.unravel_index(int(frames[0].sum(axis=2).argmax()), (96, 96)))
        means.append(frames[0].mean())
    down, across = np.std(places, axis=0)
    assert 2 < down < 12
    assert across > 8  # mirrored half of the time
    assert np.std(means) / np.mean(means) > 0.15


def test_another_voice_keeps_the_rhythm_and_changes_all_mels_alike():
    mels = np.random.default_rng(0).uniform(-2, 3, (2, 1, 80, 16)).astype(np.float32)
    mels[:, :, :, 8:] -= 2  # softer from the ninth column on
    mels[1] = mels[0]
    for seed in range(20):
        changed = perturb_mel(mels, np.random.default_rng(seed), 1.0, STRONG.max_abs_value)
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= NARROW.max_abs_value
        assert not np.array_equal(changed, mels)
        assert changed[..., :8].mean() > changed[..., 8:].mean() + 0.5


@pytest.fixture
def clip(tmp_path) -> Clip:
    """Forty frames; the mouth is dark in all but three of them."""
    for n in range(40):
        picture = np.full((96, 96, 3), 120, np.uint8)
        picture[56:92, 22:74] = 240 if n in (10, 20, 30) else 30
        cv2.imwrite(str(tmp_path / f"{n}.jpg"), picture)
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 40 * 640).astype(np.float32)
    audio.save_wav(wav, tmp_path / "audio.wav", 16000)
    return Clip(tmp_path, NARROW)


def test_references_with_another_mouth_are_preferred_where_that_is_asked_for(clip):
    def differences(values: str) -> float:
        windows = GeneratorWindows([clip], NARROW.override(values), training=True)
        pairs = [windows[Key(place, place % len(windows), 1)] for place in range(200)]
        return float(np.mean([np.abs(p["target"][0][56:92, 22:74].astype(int) - p["reference"][0][56:92, 22:74]).mean()
                              for p in pairs]))  # fmt: skip

    assert differences("other_mouth=1") > 2 * differences("")


def test_an_experts_clip_item_has_windows_from_all_over_the_clip_each_with_its_own_sound(clip):
    windows = ExpertClips([clip], NARROW.override("syncnet_clip_windows=4"))
    assert windows.plan(8).windows == 2
    item = windows[Key(0, 0, 5)]
    assert item["faces"].shape == (4, 5, 48, 96, 3)
    assert item["mel"].shape == (4, 1, 80, 16)
    starts = [next(s for s in range(len(clip.mel)) if np.array_equal(clip.mel[s : s + 16].T, mel[0]))
              for mel in item["mel"]]  # fmt: skip
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] > 30
    assert item["in_sync"].tolist() == [1, 1, 1, 1]
