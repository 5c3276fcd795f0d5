"""Faces in frames, one person over time, a crop."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import face_detection
from face_detection import RetinaFace, build_detector, choose_detector
from face_detection.crop import crop, pad_and_clip
from face_detection.find import KEY_STEP, detect_sparsely, find_faces
from face_detection.track import MAX_GAP, follow_face
from footage import face, frames_of
from portrait import portrait
from utils.errors import InputError
from utils.images import Rect

ROOT = Path(__file__).resolve().parent.parent.parent
FACE = (178, 57, 273, 177)  # of the portrait, by eye


def test_onnxruntime_reports_nothing_to_its_makers(tmp_path):
    names = {"CI", "ORT_DISABLE_TELEMETRY"}  # both keep it from reporting
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path))
    subprocess.run([sys.executable, "-c", "import face_detection.detectors"], env=environment, check=True, cwd=ROOT)
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name] == []


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_portraits_face_is_found_at_any_size_in_the_frames_own_pixels(scale):
    image = cv2.resize(portrait(), None, fx=scale, fy=scale)
    (found,) = RetinaFace().detect([image])
    assert found.dtype == np.float32
    assert found.shape == (1, 5)
    assert np.abs(found[0, :4] / scale - FACE).max() < 8  # pixels of the portrait
    assert found[0, 4] > 0.9


def test_batches_give_the_boxes_of_single_frames_with_two_faces_or_none():
    face, empty = cv2.resize(portrait(), (256, 256)), np.full((256, 256, 3), 90, np.uint8)
    pairs = (empty, empty), (face, empty), (face, face)
    frames, detector = [np.hstack(pair) for pair in pairs], RetinaFace()
    single = [detector.detect([frame])[0] for frame in frames]
    assert [found.shape for found in single] == [(0, 5), (1, 5), (2, 5)]
    batched = list(find_faces(iter(frames), detector, 2))
    assert all(np.allclose(a, b, atol=0.01) for a, b in zip(batched, single, strict=True))


def test_the_detector_is_chosen_by_what_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(face_detection, "S3FD_WEIGHTS", tmp_path / "s3fd.pth")
    assert build_detector("auto").name == "RetinaFace"
    with pytest.raises(InputError, match=r"weights\.py fetch s3fd"):
        build_detector("sfd")
    (tmp_path / "s3fd.pth").touch()
    assert choose_detector("auto") == "sfd"
    assert choose_detector("retinaface") == "retinaface"


class CountingDetector:
    """A detector that finds what it was given, by the grey of the picture's corner, and counts."""

    def __init__(self, boxes):
        self.boxes, self.seen = boxes, []

    def detect(self, frames):
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.seen += numbers
        return [self.boxes[number] for number in numbers]


def drifting(step: float, count: int = 23):
    """Frames with the portrait moving by `step` pixels a frame, and its boxes."""
    frames, boxes = [], []
    for n in range(count):
        frame = np.roll(portrait(), round(step * n), axis=1)
        frame[0, 0] = n
        frames.append(frame)
        boxes.append(np.array([[178 + step * n, 57, 273 + step * n, 177, 0.9]], np.float32))
    return frames, boxes


def test_a_steady_face_is_detected_in_key_frames_only_and_another_in_every_frame():
    frames, boxes = drifting(2.0)
    detector = CountingDetector(boxes)
    found = list(detect_sparsely(iter(frames), detector, 2))
    assert len(found) == len(frames)
    assert len(detector.seen) == len(set(detector.seen)) <= len(frames) // KEY_STEP + 2
    assert all(np.abs(ours - theirs).max() < 1e-3 for ours, theirs in zip(found, boxes, strict=True))
    frames, boxes = drifting(9.0, count=12)
    detector = CountingDetector(boxes)
    list(detect_sparsely(iter(frames), detector, 2))
    assert sorted(detector.seen) == list(range(len(frames)))


def test_a_short_gap_is_bridged_and_a_long_one_splits_the_track():
    track = follow_face(frames_of(*[[face(100)]] * 4, [], [], [], *[[face(140)]] * 4), smooth=False)
    assert track.found.all()
    assert track.interpolated.tolist() == [False] * 4 + [True] * 3 + [False] * 4
    assert track.boxes[4:7, 0].tolist() == [110, 120, 130]
    assert len(set(track.segment)) == 1
    track = follow_face(frames_of(*[[face(100)]] * 6, *[[]] * (MAX_GAP + 1), *[[face(100)]] * 6))
    assert not track.found[6:-6].any() and track.segment[0] != track.segment[-1]


def test_the_largest_or_a_person_is_followed_by_place_and_after_a_cut_where_last_seen_and_nobody_else_instead():
    large, small = face(100, size=120), face(400, size=60, score=0.99)
    track = follow_face(frames_of(*[[small]] * 3, *[[small, large], [large, small]] * 10))
    assert (track.boxes[3:, 0] == 100).all()
    assert not track.found[:3].any()  # before the large one came: somebody else

    left, right = face(100, size=100), face(300, size=250)
    frames = frames_of(*[[left, right]] * 8, *[[left]] * 20, *[[left, right]] * 8)
    largest, at, index = (follow_face(frames, False, (), *chosen) for chosen in ((), ((150, 100),), (None, 0)))
    assert largest.boxes[largest.found, 0].tolist() == [300] * 16
    for track in (at, index):
        assert track.boxes[:, 0].tolist() == [100] * 36
    with pytest.raises(InputError, match="no face is ever there"):
        follow_face(frames, at=(10, 10))
    with pytest.raises(InputError, match="at most 2 faces"):
        follow_face(frames, index=2)
    other, moved = face(300, size=120), face(110, size=100)
    frames = frames_of(*[[left, other]] * 6, *[[other]] * 6, *[[moved, other]] * 6)
    track = follow_face(frames, False, cuts=[6, 12], at=(150, 100))
    assert track.boxes[track.found, 0].tolist() == [100] * 6 + [110] * 6
    assert not track.found[6:12].any()


def test_pads_grow_the_box_and_the_frame_clips_it():
    assert pad_and_clip((10, 20, 50, 60), (1, 2, 3, 4), 100, 200) == Rect(7, 19, 54, 62)
    assert pad_and_clip((10, 20, 195, 98), (30, 10, 30, 10), 100, 200) == Rect(0, 0, 200, 100)
    assert not pad_and_clip((150, 20, 250, 60), (0, 0, 0, 0), 100, 150).usable
    image = np.zeros((100, 200, 3), np.uint8)
    assert crop(image, Rect(7, 19, 54, 62)).shape == (43, 47, 3)
