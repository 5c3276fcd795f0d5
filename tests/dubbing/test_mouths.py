"""What covers a mouth is found; how the new mouth goes into the picture: samples, colours, detail and grain."""

import cv2
import numpy as np
import pytest

import audio
import face_detection
from dubbing import faces as dub_faces
from dubbing.landmarks import SMOOTH_FRAMES, angles_of, opacity, yaw
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.paste import FaceRegion, match_colours, noise, paste_face, soft_mask, upright_crop
from face_detection.track import faces_of, follow_face
from footage import BOX, planes_of, record_of, write_video
from media import yuv
from media.reader import VideoReader
from models import Wav2Lip
from portrait import SPEECH, SPEECH_RATE, portrait, talking_frames
from utils.images import Rect

FACE = (slice(66, 182), slice(168, 272))  # the face in the portrait
REFERENCES = 32


def tiny(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame[FACE], (96, 96), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def talking_crops() -> np.ndarray:
    """Crops of a face that talks and sways, with a camera's noise: uint8 [60, 96, 96, 3]."""
    wav = audio.load_wav(SPEECH, SPEECH_RATE)[SPEECH_RATE : round(3.4 * SPEECH_RATE)]
    crops = np.stack([tiny(frame) for frame in talking_frames(wav, 25)]).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2, crops.shape)
    return np.clip(crops + noise, 0, 255).astype(np.uint8)


def evenly(crops: np.ndarray, count: int = REFERENCES) -> np.ndarray:
    return crops[np.linspace(0, len(crops) - 1, count).astype(int)]


@pytest.fixture(scope="module")
def cup() -> tuple[np.ndarray, np.ndarray]:
    """A thing over part of the mouth: picture, premultiplied, and coverage; float32 [96, 96, 3], [96, 96]."""
    picture, coverage = np.zeros((96, 96, 3), np.float32), np.zeros((96, 96), np.uint8)
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


def test_things_are_found_though_they_are_in_a_quarter_of_the_references(talking_crops, cup):
    crops, coverage = covered(talking_crops, cup, range(30, 45))
    found = hidden(OcclusionDetector(evenly(crops)), crops)
    assert found_share(found[32:45], coverage[32:45]) > 0.7  # it appears over two frames
    assert np.mean([hidden_share(1 - each) >= OCCLUDED for each in found[32:45]]) > 0.85
    assert found[:30].max() == 0 and found[49:].max() == 0
    assert max(np.abs(np.diff(found[43], axis=axis)).max() for axis in (0, 1)) < 0.5  # a soft edge


def test_one_frame_is_not_enough_and_what_was_found_fades_but_for_a_cut_or_a_reset(talking_crops, detector, cup):
    crops, _ = covered(talking_crops, cup, range(30, 32))
    detector.reset()
    peaks = hidden(detector, crops)[30:35].max(axis=(1, 2))
    assert peaks == pytest.approx([0, 1, 2 / 3, 1 / 3, 0], abs=0.05)

    crops, _ = covered(talking_crops, cup, range(30, 50))
    after = talking_crops[40]
    detector.reset()
    hidden(detector, crops[30:40])
    assert detector.visible(after).min() < 0.5  # it fades
    hidden(detector, crops[30:40])
    detector.reset()
    assert detector.visible(after).min() == 1
    hidden(detector, crops[30:40])
    assert detector.visible(255 - after).min() == 1  # another shot


@pytest.mark.slow
def test_what_covers_the_mouth_stays_in_front_of_it(dub, talking, tmp_path):
    images = [frame.image.copy() for frame in VideoReader(talking).frames()]
    for number in range(20, 30):  # a dark bar over the lower edge of the face
        cv2.rectangle(images[number], (205, 135), (245, 260), (30, 25, 20), -1)
    covered_video = write_video(tmp_path / "covered.mkv", images)
    common = [*BOX, "--face", covered_video, "--codec", "ffv1", "--no_score"]
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
def test_what_cannot_be_told_is_warned_about_and_recorded(dub, tmp_path, monkeypatch):
    monkeypatch.setattr(face_detection, "S3FD_WEIGHTS", tmp_path)  # as if they were there, which know no landmarks
    short = ["--preview", 0.4, "--no_score", "--occlusion"]
    result = dub(*BOX, *short, "on")
    assert (result.code, result.err.count("warning: --occlusion: ")) == (0, 1)  # no landmarks with a box
    assert record_of(tmp_path / "out.mp4")["occlusion"] == {"covered": True, "turned": False}
    assert dub(*short).err.count("warning") == 0
    record = record_of(tmp_path / "out.mp4")
    assert record["occlusion"] == {"covered": True, "turned": True}
    assert record["faces"]["detector"] == "retinaface"
    assert (record["dubbed"] + record["interpolated"], record["occluded"], record["turned"]) == (10, 0, 0)


@pytest.mark.slow
def test_what_is_not_shown_is_not_generated_not_scored_and_not_called_dubbed(dub, talking, tmp_path, monkeypatch):
    monkeypatch.setattr(dub_faces, "opacity", lambda yaw: 0.0)
    monkeypatch.setattr(Wav2Lip, "forward", None)
    assert dub("--occlusion", "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    record = record_of(tmp_path / "out.mkv")
    assert (record["dubbed"], record["unchanged"], record["turned"], record["sync"]) == (0, 25, 25, None)
    for ours, theirs in zip(planes_of(tmp_path / "out.mkv"), planes_of(talking), strict=False):
        assert all(np.array_equal(new, old) for new, old in zip(ours, theirs, strict=True))


HEAD = np.array([[-31.5, -35, 0], [31.5, -35, 0], [0, 0, 20], [-26, 30, 0], [26, 30, 0]])  # mm: x right, y down, z near


def landmarks(turned: float) -> np.ndarray:
    """A head as the picture shows it, turned by so many degrees: float64 [10]."""
    a = np.radians(turned)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return (200 + (HEAD @ about_y.T)[:, :2]).ravel()


def detections(yaws) -> list[np.ndarray]:
    """One face of 15 columns in each frame."""
    return [np.array([[150, 150, 250, 250, 0.9, *landmarks(angle)]], np.float32) for angle in yaws]


def opacities_of(found) -> np.ndarray:
    track = follow_face(found)
    return opacity(angles_of(yaw, faces_of(found, track), track, SMOOTH_FRAMES))


def test_yaw_is_the_angle_that_a_head_is_turned_by():
    angles = [-70.0, 0, 20, 85]
    assert np.allclose(yaw(np.array([landmarks(angle) for angle in angles])), angles, atol=2)
    assert yaw(np.zeros(10)) == 0


def test_weights_of_a_track_follow_the_head_and_one_bad_frame_changes_little():
    turning = [*[0] * 20, *np.linspace(0, 80, 20), *[80] * 20]
    found = detections(turning)
    weights = opacities_of(found)
    assert weights.shape == (60,) and weights.dtype == np.float32
    assert np.all(weights[:25] == 1) and np.all(weights[-15:] == 0)
    assert np.all(np.diff(weights) <= 0) and np.diff(weights).min() > -0.35
    other = np.array([*[400, 150, 440, 190, 0.95], *landmarks(85)], np.float32)  # of somebody else
    found = [np.stack([other, faces[0]]) for faces in detections([*[0] * 10, 89, *[0] * 10])]
    assert np.all(opacities_of(found) == 1)


@pytest.mark.parametrize(("turns", "pix_fmt"), [(1, "yuv422p"), (3, "yuv420p10le")])
def test_pictures_are_turned_and_cut_without_changing_a_sample(turns, pix_fmt):
    picture = yuv.from_bgr(cv2.GaussianBlur(portrait(), (0, 0), 3)[:200, :240], pix_fmt)
    turned = yuv.rotate_crop(picture, turns, Rect(20, 10, 100, 90))
    y = np.rot90(yuv.planes(picture)[0], turns)[10:90, 20:100]
    assert np.array_equal(yuv.planes(turned)[0], y)
    expected = np.rot90(yuv.to_bgr(picture), turns)[10:90, 20:100]
    assert np.abs(yuv.to_bgr(turned).astype(int) - expected)[4:-4, 4:-4].mean() < 1.0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_blending_changes_nothing_where_the_mask_is_zero_and_replaces_where_it_is_one(pix_fmt):
    picture = yuv.from_bgr(portrait(), pix_fmt)
    before = [plane.copy() for plane in yuv.planes(picture)]
    rect, mask = Rect(101, 51, 180, 140), np.zeros((89, 79), np.float32)
    mask[40:, 20:60] = 1
    green = np.full((89, 79, 3), (40, 180, 60), np.uint8)
    yuv.blend_bgr(picture, rect, green, mask)
    after = yuv.to_bgr(picture)
    assert np.abs(after[95:136, 125:157].astype(int) - (40, 180, 60)).max() <= 3
    for old, new in zip(before, yuv.planes(picture), strict=True):
        across, down = 512 // new.shape[1], 512 // new.shape[0]
        changed = np.argwhere(old != new) * (down, across)
        assert changed.min(axis=0)[0] >= 91 - down
        assert changed.min(axis=0)[1] >= 121 - across
        assert changed.max(axis=0)[0] < 140
        assert changed.max(axis=0)[1] < 161


def test_colours_of_the_mouth_are_matched_to_the_skin_around_it():
    skin = cv2.resize(portrait()[57:177, 178:273], (96, 96))
    tinted = np.clip(skin + np.array([14, -9, 11]), 0, 255).astype(np.uint8)
    matched = match_colours(tinted, skin)
    inside = soft_mask(96) > 0
    assert np.abs(matched.astype(int) - skin)[inside].mean() < 1.0
    assert np.abs(tinted.astype(int) - skin)[inside].mean() > 9


def test_a_mouth_in_black_and_white_stays_so():
    noise = 1  # level of colour that a codec left
    grey = np.repeat(cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    picture = yuv.from_bgr(grey, "yuv420p")
    for plane in yuv.planes(picture)[1:]:
        plane[:] += np.random.default_rng(0).integers(-noise, noise + 1, plane.shape).astype(np.uint8)
    before = yuv.clone(picture)
    pink = np.full((96, 96, 3), (120, 130, 220), np.uint8)
    paste_face(picture, FaceRegion(Rect(178, 57, 274, 177)), pink, soft_mask(96), "soft")
    changed = [not np.array_equal(*both) for both in zip(yuv.planes(picture), yuv.planes(before), strict=True)]
    assert changed == [True, False, False]


def textured(height: int, width: int, finest: float = 0.8) -> np.ndarray:
    """Detail of all sizes, as skin and teeth have, down to what a lens still shows: uint8 BGR."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), finest * 2**n) * 2**n * finest * 30
        for n in range(4)
    ]
    return np.clip(128 + sum(layers)[..., None].repeat(3, axis=2), 0, 255).astype(np.uint8)


def framed(face: np.ndarray) -> tuple:
    """A frame with the face in its middle, and where."""
    height, width = face.shape[:2]
    image = cv2.copyMakeBorder(face, 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    return yuv.from_bgr(image, "yuv444p"), FaceRegion(Rect(20, 20, 20 + width, 20 + height))


@pytest.mark.parametrize(("height", "width"), [(110, 90), (384, 300)])
def test_a_mouth_of_the_pictures_own_size_leaves_it_as_it_was(height, width):
    picture, region = framed(textured(height, width))
    true = upright_crop(picture, region)
    paste_face(picture, region, true, soft_mask(96), "soft", own=1.0)
    assert np.abs(upright_crop(picture, region).astype(int) - true).max() <= 2  # rounded on the way to YUV and back


@pytest.mark.parametrize(("height", "width", "tilt"), [(110, 90, 0.0), (384, 300, 20.0)])
def test_a_clean_mouth_is_given_the_grain_of_the_picture_at_any_size(height, width, tilt):
    clean = cv2.GaussianBlur(textured(height, width, finest=4), (0, 0), 3)
    grain = np.random.default_rng(1).normal(0, 5, clean.shape[:2])[..., None]
    picture, region = framed(np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8))
    rows, columns = np.mgrid[:height, :width]
    down, turn = 0.25 * height, np.radians(tilt)
    mouth = np.hypot(rows - height / 2 - down * np.cos(turn), columns - width / 2 + down * np.sin(turn)) < height / 12
    before = noise(yuv.luma(picture, region.rect), mouth)
    tilted = region._replace(tilt=tilt)
    paste_face(picture, tilted, clean, soft_mask(96), "soft", own=1.0, number=3)
    assert noise(yuv.luma(picture, region.rect), mouth) == pytest.approx(before, rel=0.2)
