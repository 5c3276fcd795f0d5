"""What covers the mouth is found, and the mouth itself is not taken for it."""

import cv2
import numpy as np
import pytest

import audio
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.paste import soft_mask
from portrait import SPEECH, SPEECH_RATE, talking_frames

BOX = (slice(66, 182), slice(168, 272))  # the face in the portrait
REFERENCES = 32


def tiny(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame[BOX], (96, 96), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def talking_crops() -> np.ndarray:
    """Crops of a face that talks and sways, with a camera's noise: uint8 [75, 96, 96, 3]."""
    wav = audio.load_wav(SPEECH, SPEECH_RATE)[SPEECH_RATE : 4 * SPEECH_RATE]
    crops = np.stack([tiny(frame) for frame in talking_frames(wav, 25)]).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2, crops.shape)
    return np.clip(crops + noise, 0, 255).astype(np.uint8)


def evenly(crops: np.ndarray, count: int = REFERENCES) -> np.ndarray:
    return crops[np.linspace(0, len(crops) - 1, count).astype(int)]


def drawn(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A thing over part of the mouth: picture, premultiplied, and coverage; float32 [96, 96, 3], [96, 96]."""
    picture, coverage = np.zeros((96, 96, 3), np.float32), np.zeros((96, 96), np.uint8)
    if kind == "microphone":
        cv2.line(coverage, (58, 80), (74, 110), 255, 9, cv2.LINE_AA)
        cv2.circle(coverage, (56, 76), 13, 255, -1, cv2.LINE_AA)
        picture[:] = 35
        cv2.circle(picture, (52, 72), 6, (70, 70, 70), -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(coverage, [np.array([(30, 68), (66, 68), (62, 110), (34, 110)])], 255, cv2.LINE_AA)
        picture[:] = np.linspace(120, 230, 96, dtype=np.float32)[None, :, None]
    alpha = cv2.GaussianBlur(coverage.astype(np.float32) / 255, (0, 0), 0.7)
    return picture * alpha[..., None], alpha


def covered(crops: np.ndarray, thing, frames: range) -> tuple[np.ndarray, np.ndarray]:
    """Crops that show the thing, which moves a little, in some frames, and what it covers: float32 [T, 96, 96]."""
    changed, coverage = crops.copy(), np.zeros(crops.shape[:3], np.float32)
    for n in frames:
        shift = np.array([[1, 0, 3 * np.sin(n / 3)], [0, 1, 2 * np.cos(n / 4)]])
        picture, alpha = (cv2.warpAffine(part, shift, (96, 96)) for part in thing)
        coverage[n] = alpha
        changed[n] = np.rint(crops[n] * (1 - alpha[..., None]) + picture)
    return changed, coverage


def hidden(detector: OcclusionDetector, crops: np.ndarray) -> np.ndarray:
    return np.stack([1 - detector.visible(crop) for crop in crops])


@pytest.fixture(scope="module")
def microphone() -> tuple[np.ndarray, np.ndarray]:
    return drawn("microphone")


@pytest.fixture(scope="module")
def detector(talking_crops) -> OcclusionDetector:
    return OcclusionDetector(evenly(talking_crops))


def found_share(found: np.ndarray, coverage: np.ndarray) -> float:
    """Of what the thing covers of the mouth."""
    mask = soft_mask(found.shape[1])
    return float((np.minimum(found, coverage) * mask).sum() / (coverage * mask).sum())


def test_a_talking_and_swaying_face_hides_nothing(talking_crops, detector):
    detector.reset()
    assert max(hidden_share(detector.visible(crop)) for crop in talking_crops) < 0.003


@pytest.mark.parametrize("kind", ["microphone", "cup"])
def test_things_are_found_though_they_are_in_a_quarter_of_the_references(talking_crops, kind):
    crops, coverage = covered(talking_crops, drawn(kind), range(30, 50))
    found = hidden(OcclusionDetector(evenly(crops)), crops)
    assert found_share(found[32:50], coverage[32:50]) > 0.7  # it appears over two frames
    assert np.mean([hidden_share(1 - each) >= OCCLUDED for each in found[32:50]]) > 0.85
    assert found[:30].max() == 0 and found[54:].max() == 0


def test_one_reference_is_enough(talking_crops, microphone):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    found = hidden(OcclusionDetector(talking_crops[:1]), crops)
    assert found_share(found[32:50], coverage[32:50]) > 0.7


def test_without_references_nothing_is_hidden(talking_crops, microphone):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    assert hidden(OcclusionDetector(talking_crops[:0]), crops[28:40]).max() == 0


def test_the_edge_is_soft_and_values_lie_between_0_and_1(talking_crops, detector, microphone):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    detector.reset()
    visible = [detector.visible(crop) for crop in crops[:45]][-1]
    assert visible.dtype == np.float32 and visible.shape == (96, 96)
    assert visible.min() == pytest.approx(0, abs=0.05) and visible.max() == 1
    assert max(np.abs(np.diff(visible, axis=axis)).max() for axis in (0, 1)) < 0.5


def test_a_mouth_that_opens_wider_than_in_any_reference_is_no_occluder(talking_crops, detector):
    crops = talking_crops[:20].copy()
    for crop in crops:
        cv2.ellipse(crop, (48, 70), (17, 11), 0, 0, 360, (20, 15, 40), -1, cv2.LINE_AA)
        cv2.ellipse(crop, (48, 63), (11, 3), 0, 0, 360, (210, 220, 225), -1, cv2.LINE_AA)
    detector.reset()
    assert hidden(detector, crops).max() == 0


def test_a_head_in_a_pose_of_no_reference_is_no_occluder(talking_crops, detector):
    moved = cv2.getRotationMatrix2D((48, 40), 4, 1.05)
    moved[0, 2] += 4
    crops = [cv2.warpAffine(crop, moved, (96, 96), borderMode=cv2.BORDER_REPLICATE) for crop in talking_crops[:20]]
    detector.reset()
    assert np.mean([hidden_share(detector.visible(crop)) for crop in crops]) < 0.003


@pytest.mark.parametrize("gain", [0.75, 1.1])
def test_other_light_is_no_occluder_and_hides_none(talking_crops, detector, microphone, gain):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    detector.reset()
    found = hidden(detector, np.clip(crops * gain, 0, 255).astype(np.uint8))
    assert found[:30].max() == 0
    assert found_share(found[32:50], coverage[32:50]) > 0.7


def test_one_frame_is_not_enough_and_what_was_found_fades_over_three(talking_crops, detector, microphone):
    crops, _ = covered(talking_crops, microphone, range(30, 32))
    detector.reset()
    peaks = hidden(detector, crops)[30:35].max(axis=(1, 2))
    assert peaks == pytest.approx([0, 1, 2 / 3, 1 / 3, 0], abs=0.05)


def test_a_cut_and_a_reset_forget_the_frames_before(talking_crops, detector, microphone):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    after = talking_crops[40]
    detector.reset()
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    detector.reset()
    assert detector.visible(after).min() == 1
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    assert detector.visible(after).min() < 0.5  # without either it fades
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    other_shot = 255 - after
    assert detector.visible(other_shot).min() == 1


def test_crops_of_another_size_work_alike(talking_crops, microphone):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    large = np.stack([cv2.resize(crop, (192, 192)) for crop in crops])
    found = hidden(OcclusionDetector(evenly(large)), large[30:45])[-1:]
    assert found.shape == (1, 192, 192)
    assert found_share(found, cv2.resize(coverage[44], (192, 192))[None]) > 0.7


def test_the_hidden_share_is_weighted_with_the_mask_of_the_mouth():
    visible = np.ones((96, 96), np.float32)
    assert hidden_share(visible) == 0
    visible[:48] = 0
    assert hidden_share(visible) < 0.01
    visible[48:, :48] = 0
    assert hidden_share(visible) == pytest.approx(0.5, abs=0.01)
    assert hidden_share(np.zeros((96, 96), np.float32)) == pytest.approx(1)
