"""What covers the mouth is found, and the mouth itself is not taken for it."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from test_dubbing import BOX, planes_of, record_of

import audio
import face_detection
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.paste import soft_mask
from media import yuv
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import SPEECH, SPEECH_RATE, talking_frames

FACE = (slice(66, 182), slice(168, 272))  # the face in the portrait
REFERENCES = 32


def tiny(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame[FACE], (96, 96), interpolation=cv2.INTER_AREA)


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


def test_a_face_that_talks_sways_or_opens_its_mouth_wide_hides_nothing(talking_crops, detector):
    wide, moved = talking_crops[:20].copy(), cv2.getRotationMatrix2D((48, 40), 4, 1.05)
    moved[0, 2] += 4
    for crop in wide:
        cv2.ellipse(crop, (48, 70), (17, 11), 0, 0, 360, (20, 15, 40), -1, cv2.LINE_AA)
        cv2.ellipse(crop, (48, 63), (11, 3), 0, 0, 360, (210, 220, 225), -1, cv2.LINE_AA)
    posed = [cv2.warpAffine(crop, moved, (96, 96), borderMode=cv2.BORDER_REPLICATE) for crop in talking_crops[:20]]
    for crops in (talking_crops, wide, posed):
        detector.reset()
        assert np.mean([hidden_share(detector.visible(crop)) for crop in crops]) < 0.003


@pytest.mark.parametrize("kind", ["microphone", "cup"])
def test_things_are_found_though_they_are_in_a_quarter_of_the_references(talking_crops, kind):
    crops, coverage = covered(talking_crops, drawn(kind), range(30, 50))
    found = hidden(OcclusionDetector(evenly(crops)), crops)
    assert found_share(found[32:50], coverage[32:50]) > 0.7  # it appears over two frames
    assert np.mean([hidden_share(1 - each) >= OCCLUDED for each in found[32:50]]) > 0.85
    assert found[:30].max() == 0 and found[54:].max() == 0
    assert max(np.abs(np.diff(found[48], axis=axis)).max() for axis in (0, 1)) < 0.5  # a soft edge
    assert hidden(OcclusionDetector(crops[:0]), crops[30:35]).max() == 0  # without any nothing is hidden


def test_one_reference_is_enough_and_crops_of_any_size_work_alike(talking_crops, microphone):
    crops, coverage = covered(talking_crops, microphone, range(30, 50))
    found = hidden(OcclusionDetector(talking_crops[:1]), crops)
    assert found_share(found[32:50], coverage[32:50]) > 0.7
    large = np.stack([cv2.resize(crop, (192, 192)) for crop in crops])
    found = hidden(OcclusionDetector(evenly(large)), large[30:50])[2:]
    assert found_share(found, np.stack([cv2.resize(part, (192, 192)) for part in coverage[32:50]])) > 0.7


def test_other_light_is_no_occluder_and_hides_none(talking_crops, detector, microphone):
    gain = 0.75
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


COVERED = range(20, 30)  # frames


@pytest.fixture(scope="module")
def covered_video(talking, tmp_path_factory):
    """The talking head with a dark bar that comes over the lower edge of the face and stays for ten frames."""
    path = tmp_path_factory.mktemp("covered") / "covered.mkv"
    with VideoWriter(path, Fraction(25), talking) as writer:
        for number, (time, picture) in enumerate(VideoReader(talking).pictures()):
            image = yuv.to_bgr(picture)
            if number in COVERED:
                cv2.rectangle(image, (205, 135), (245, 260), (30, 25, 20), -1)
            writer.write(image, time)
    return path


@pytest.mark.slow
def test_what_covers_the_mouth_stays_in_front_of_it(dub, covered_video, tmp_path):
    common = [*BOX, "--face", covered_video, "--codec", "ffv1", "--extend", "hold"]
    results = {}
    for setting in ("off", "on"):
        out = tmp_path / f"{setting}.mkv"
        assert dub(*common, "--outfile", out, "--occlusion", setting).code == 0
        results[setting] = [planes[0][140:160, 210:240].astype(int) for planes in planes_of(out)]
    source = [planes[0][140:160, 210:240].astype(int) for planes in planes_of(covered_video)]
    inside = 24
    assert np.abs(results["on"][inside] - source[inside]).mean() < 2
    assert np.abs(results["off"][inside] - source[inside]).mean() > 10
    assert np.array_equal(results["on"][10], results["off"][10])
    assert record_of(tmp_path / "off.mkv")["occluded"] == 0
    assert 3 <= record_of(tmp_path / "on.mkv")["occluded"] <= 8  # of the five that the speech lasts for, and a fade


@pytest.mark.slow
def test_what_cannot_be_told_is_warned_about_and_recorded(dub, talking, tmp_path):
    result = dub(*BOX, "--preview", 0.4, "--occlusion", "on")
    assert (result.code, result.err.count("warning: --occlusion: ")) == (0, 1)  # no landmarks with a box
    assert record_of(tmp_path / "out.mp4")["occlusion"] == {"covered": True, "turned": False}
    assert dub("--occlusion", "--audio", talking).err.count("warning") == 0
    assert record_of(tmp_path / "out.mp4")["occlusion"] == {"covered": True, "turned": True}
    assert dub(*BOX, "--preview", 0.2).code == 0
    assert record_of(tmp_path / "out.mp4")["occlusion"] is None


@pytest.mark.slow
def test_landmarks_are_looked_for_where_another_detector_would_be_chosen(dub, tmp_path, monkeypatch):
    monkeypatch.setattr(face_detection, "S3FD_WEIGHTS", tmp_path)  # as if they were there
    assert dub("--occlusion", "--preview", 0.4).code == 0
    record = record_of(tmp_path / "out.mp4")
    assert record["faces"]["detector"] == "retinaface"
    assert (record["dubbed"] + record["interpolated"], record["occluded"], record["turned"]) == (10, 0, 0)
