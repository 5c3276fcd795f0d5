"""How a mouth moves beside the true one: what each measure tells apart, and what it does not count."""

import cv2
import numpy as np
import pytest

from metrics import articulation


def talking(openings: np.ndarray, depth: int = 100) -> np.ndarray:
    """Faces with a dark mouth as high as `openings` (0..1), `depth` levels darker: uint8 BGR [N, 96, 96, 3]."""
    faces = np.full((len(openings), 96, 96, 3), 160, np.uint8)
    for face, opening in zip(faces, openings, strict=True):
        height = round(24 * opening)
        face[74 - height // 2 : 74 + height // 2, 30:66] = 160 - depth
    return faces


SPEECH = (1 + np.sin(np.arange(50) / 2)) / 2


def test_the_truth_itself_follows_moves_and_has_contrast():
    faces = talking(SPEECH)
    assert articulation.articulation(faces, faces) == pytest.approx({"follows": 1, "motion": 1, "contrast": 1})
    assert articulation.region_l1(faces, faces) == 0


def test_a_mouth_that_opens_when_the_true_one_closes_does_not_follow():
    true = talking(SPEECH)
    assert articulation.follows(talking(1 - SPEECH), true) < -0.5
    assert abs(articulation.follows(talking(np.roll(SPEECH, 3)), true)) < 0.3  # a quarter of a period late


def test_a_timid_mouth_follows_but_moves_less():
    true = talking(SPEECH)
    still = true.mean(axis=0)
    timid = (still + (true - still) / 2).round().astype(np.uint8)
    assert articulation.follows(timid, true) == pytest.approx(1, abs=0.01)
    assert articulation.motion(timid, true) == pytest.approx(0.5, abs=0.02)


def test_a_still_mouth_neither_follows_nor_moves():
    true = talking(SPEECH)
    still = true[:1].repeat(len(true), axis=0)
    for generated, other in ((still, true), (true, still)):
        assert articulation.follows(generated, other) == 0
    assert articulation.motion(still, true) == 0
    assert articulation.motion(still, still) == 0
    assert np.isfinite(articulation.motion(true, still))


def test_a_mouth_that_changes_with_the_shot_alone_neither_follows_nor_moves():
    shots = np.arange(len(SPEECH)) // 20  # 20, 20 and 10 frames
    true = (talking(SPEECH) * (1 - 0.3 * shots[:, None, None, None])).astype(np.uint8)
    frozen = true[20 * shots]
    assert articulation.follows(frozen, true) > 0.6
    assert articulation.articulation(frozen, true, shots)["follows"] == articulation.motion(frozen, true, shots) == 0
    expected = {"follows": 1, "motion": 1, "contrast": 1}
    assert articulation.articulation(true, true, shots) == pytest.approx(expected)
    assert articulation.motion(true, true, np.arange(len(true))) == 0  # a shot each


def test_noise_moves_but_does_not_follow():
    true = talking(SPEECH)
    noise = np.random.default_rng(0).integers(0, 256, true.shape, np.uint8)
    assert articulation.motion(noise, true) > 2
    assert abs(articulation.follows(noise, true)) < 0.05


def test_pale_and_blurred_mouths_have_less_contrast():
    true = talking(SPEECH)
    assert articulation.contrast(talking(SPEECH, depth=50), true) == pytest.approx(0.5, abs=0.01)
    blurred = np.stack([cv2.GaussianBlur(face, (0, 0), 6) for face in true])
    assert articulation.contrast(blurred, true) < 0.9


def test_only_the_mouths_region_counts_at_every_size():
    true = talking(SPEECH)
    other = true.copy()
    other[:, :56] = other[:, 92:] = other[:, :, :22] = other[:, :, 74:] = 0
    assert articulation.articulation(other, true) == pytest.approx({"follows": 1, "motion": 1, "contrast": 1})
    assert articulation.region_l1(other, true) == 0
    other[:, 56:92, 22:74] += 51
    assert articulation.region_l1(other, true) == pytest.approx(0.2)
    large = true.repeat(2, axis=1).repeat(2, axis=2)
    assert articulation.mouth_region(large).shape == (50, 72, 104, 3)
