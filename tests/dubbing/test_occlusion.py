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


def microphone(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """A dark ball on a stick that comes from below: its picture and coverage, float32 [96, 96, 3] and [96, 96]."""
    alpha = np.zeros((384, 384), np.float32)
    cv2.line(alpha, (int(4 * x), int(4 * y)), (int(4 * x) + 60, 480), 1.0, 36)
    cv2.circle(alpha, (int(4 * x), int(4 * y)), 52, 1.0, -1)
    grain = np.random.default_rng(1).normal(45, 8, (96, 96, 1)).astype(np.float32)
    return np.repeat(grain, 3, axis=2), cv2.resize(alpha, (96, 96), interpolation=cv2.INTER_AREA)


def hand(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Four fingers and a palm from the side, of the face's colour, shaded towards their edges."""
    alpha, shade = np.zeros((384, 384), np.uint8), np.zeros((384, 384), np.float32)
    for finger in range(-2, 3):
        one = np.zeros_like(alpha)
        length = 0 if abs(finger) < 2 else 30
        start = int(4 * x) + length, int(4 * y) + 40 * finger
        cv2.line(one, start, (500, start[1] + 10), 255, 40)
        distance = cv2.distanceTransform(one, cv2.DIST_L2, 5) / 20
        shade, alpha = np.where(one > 0, 0.6 + 0.45 * np.sqrt(np.minimum(distance, 1)), shade), np.maximum(alpha, one)
    picture = np.array([120, 140, 195], np.float32) * shade[..., None].astype(np.float32)
    return (
        cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA),
        cv2.resize(alpha, (96, 96), interpolation=cv2.INTER_AREA).astype(np.float32) / 255,
    )


def covered(crops: np.ndarray, occluder, frames: range) -> tuple[np.ndarray, np.ndarray]:
    """Crops that show the occluder, which moves a little, in some frames, and what it covers: float32 [T, 96, 96]."""
    changed, coverage = crops.copy(), np.zeros(crops.shape[:3], np.float32)
    for n in frames:
        picture, alpha = occluder(48 + 4 * np.sin(n / 3), 76 + 2 * np.cos(n / 4))
        coverage[n] = alpha
        changed[n] = np.rint(crops[n] * (1 - alpha[..., None]) + picture * alpha[..., None])
    return changed, coverage


def hidden(detector: OcclusionDetector, crops: np.ndarray) -> np.ndarray:
    return np.stack([1 - detector.visible(crop) for crop in crops])


def test_a_talking_and_swaying_face_hides_nothing(talking_crops):
    detector = OcclusionDetector(evenly(talking_crops))
    assert max(hidden_share(detector.visible(crop)) for crop in talking_crops) < 0.003


@pytest.mark.parametrize(("occluder", "least"), [(microphone, 0.85), (hand, 0.7)])
def test_an_occluder_is_found_though_it_is_in_a_quarter_of_the_references(talking_crops, occluder, least):
    crops, coverage = covered(talking_crops, occluder, range(30, 50))
    found, mask = hidden(OcclusionDetector(evenly(crops)), crops), soft_mask(96)
    seen = slice(32, 50)  # it appears over two frames
    both = (np.minimum(found, coverage) * mask)[seen].sum()
    assert both / (coverage * mask)[seen].sum() > least
    assert both / (found * mask)[seen].sum() > 0.65
    assert all(hidden_share(1 - each) > OCCLUDED for each in found[seen])
    assert found[:30].max() == 0 and found[54:].max() == 0


def test_an_occluder_is_found_in_a_still_picture_of_which_one_reference_is_enough(talking_crops):
    crops, coverage = covered(np.repeat(talking_crops[:1], 40, axis=0), microphone, range(30, 40))
    found, mask = hidden(OcclusionDetector(talking_crops[:1]), crops), soft_mask(96)
    assert found[:30].max() == 0
    assert (np.minimum(found, coverage) * mask)[32:].sum() / (coverage * mask)[32:].sum() > 0.85


def test_without_references_nothing_is_hidden(talking_crops):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    assert hidden(OcclusionDetector(talking_crops[:0]), crops[28:40]).max() == 0


def test_the_edge_is_soft_and_values_lie_between_0_and_1(talking_crops):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    detector = OcclusionDetector(evenly(crops))
    visible = [detector.visible(crop) for crop in crops[:45]][-1]
    assert visible.dtype == np.float32 and visible.shape == (96, 96)
    assert visible.min() == pytest.approx(0, abs=1e-6) and visible.max() == 1
    assert max(np.abs(np.diff(visible, axis=axis)).max() for axis in (0, 1)) < 0.45


def test_a_mouth_that_opens_wider_than_in_any_reference_is_no_occluder(talking_crops):
    detector, crops = OcclusionDetector(evenly(talking_crops)), talking_crops[:20].copy()
    for crop in crops:
        cv2.ellipse(crop, (48, 70), (17, 11), 0, 0, 360, (20, 15, 40), -1, cv2.LINE_AA)
        cv2.ellipse(crop, (48, 63), (11, 3), 0, 0, 360, (210, 220, 225), -1, cv2.LINE_AA)
    assert hidden(detector, crops).max() == 0


def test_a_head_in_a_pose_of_no_reference_is_no_occluder(talking_crops):
    detector = OcclusionDetector(evenly(talking_crops))
    moved = cv2.getRotationMatrix2D((48, 40), 4, 1.05)
    moved[0, 2] += 4
    crops = [cv2.warpAffine(crop, moved, (96, 96), borderMode=cv2.BORDER_REPLICATE) for crop in talking_crops[:20]]
    assert np.mean([hidden_share(detector.visible(crop)) for crop in crops]) < 0.003


@pytest.mark.parametrize("gain", [0.75, 1.25])
def test_other_light_is_no_occluder_and_hides_none(talking_crops, gain):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    detector = OcclusionDetector(evenly(crops))
    found = hidden(detector, np.clip(crops * gain, 0, 255).astype(np.uint8))
    mask = soft_mask(96)
    assert (found * mask)[:30].sum() / (30 * mask.sum()) < 0.003
    assert (np.minimum(found, coverage) * mask)[32:50].sum() / (coverage * mask)[32:50].sum() > 0.8


def test_one_frame_is_not_enough_and_what_was_found_fades_over_three(talking_crops):
    crops, _ = covered(talking_crops, microphone, range(30, 32))
    found = hidden(OcclusionDetector(evenly(talking_crops)), crops)
    peaks = found[30:35].max(axis=(1, 2))
    assert peaks == pytest.approx([0, 1, 2 / 3, 1 / 3, 0], abs=0.02)


def test_a_cut_and_a_reset_forget_the_frames_before(talking_crops):
    crops, _ = covered(talking_crops, microphone, range(30, 50))
    detector, after = OcclusionDetector(evenly(crops)), talking_crops[40]
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    detector.reset()
    assert detector.visible(after).min() == 1
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    assert detector.visible(after).min() < 0.5  # without either it fades
    assert hidden(detector, crops[30:40])[-1].max() > 0.9
    other_shot = np.roll(after[:, ::-1], 40, axis=0)
    assert detector.visible(other_shot).min() == 1


def test_crops_of_another_size_work_alike(talking_crops):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    large = np.stack([cv2.resize(crop, (192, 192)) for crop in crops])
    visible = hidden(OcclusionDetector(evenly(large)), large[30:45])[-1]
    assert visible.shape == (192, 192)
    inside = cv2.resize(coverage[44], (192, 192)) > 0.9
    assert visible[96:][inside[96:]].mean() > 0.8


def test_the_hidden_share_is_weighted_with_the_mask_of_the_mouth():
    visible = np.ones((96, 96), np.float32)
    assert hidden_share(visible) == 0
    visible[:48] = 0
    assert hidden_share(visible) < 0.01
    visible[48:, :48] = 0
    assert hidden_share(visible) == pytest.approx(0.5, abs=0.01)
    assert hidden_share(np.zeros((96, 96), np.float32)) == pytest.approx(1)
