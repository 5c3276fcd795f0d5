"""Faces found in some frames, and one person followed."""

import cv2
import numpy as np
import pytest

from face_detection.find import KEY_STEP, detect_sparsely
from face_detection.track import follow_face
from footage import face, frames_of
from portrait import portrait
from utils.errors import InputError


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


def test_a_steady_face_is_detected_in_key_frames_only_and_interpolated_between():
    frames, boxes = drifting(2.0)
    detector = CountingDetector(boxes)
    found = list(detect_sparsely(iter(frames), detector, 2))
    assert len(found) == len(frames)
    assert len(detector.seen) == len(set(detector.seen)) <= len(frames) // KEY_STEP + 2
    assert all(np.abs(ours - theirs).max() < 1e-3 for ours, theirs in zip(found, boxes, strict=True))


def test_where_the_face_is_not_steady_every_frame_is_detected():
    frames, boxes = drifting(9.0)
    detector = CountingDetector(boxes)
    list(detect_sparsely(iter(frames), detector, 2))
    assert sorted(detector.seen) == list(range(len(frames)))
    frames, boxes = drifting(0.0)
    frames[7] = cv2.GaussianBlur(frames[7][::-1].copy(), (0, 0), 9)  # another picture between two equal ones
    frames[7][0, 0] = 7
    detector = CountingDetector(boxes)
    list(detect_sparsely(iter(frames), detector, 2))
    assert {6, 7, 8, 9} <= set(detector.seen)
    assert 12 not in detector.seen


@pytest.mark.parametrize(("step", "detected"), [(0.0, 6), (1.0, 10)])
def test_where_boxes_must_be_close_a_face_that_moves_is_also_detected_between_key_frames(step, detected):
    frames, boxes = drifting(step)
    detector = CountingDetector(boxes)
    found = list(detect_sparsely(iter(frames), detector, 4, closely=True))
    assert all(np.abs(ours - theirs).max() < 1 for ours, theirs in zip(found, boxes, strict=True))
    assert len(detector.seen) == detected


def test_a_person_is_followed_by_place_and_nobody_else_instead():
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


def test_after_a_cut_the_chosen_person_is_looked_for_where_last_seen():
    left, right, moved = face(100, size=100), face(300, size=120), face(110, size=100)
    frames = frames_of(*[[left, right]] * 6, *[[right]] * 6, *[[moved, right]] * 6)
    track = follow_face(frames, False, cuts=[6, 12], at=(150, 100))
    assert track.boxes[track.found, 0].tolist() == [100] * 6 + [110] * 6
    assert not track.found[6:12].any()
