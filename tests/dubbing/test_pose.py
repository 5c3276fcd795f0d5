"""Heads turned to the side: the yaw from five landmarks, and the weight that follows from it."""

import numpy as np
import pytest

from dubbing.pose import FRONTAL, PROFILE, opacities, opacity, yaw
from face_detection.track import follow_face

HEAD = np.array([[-31.5, -35, 0], [31.5, -35, 0], [0, 0, 20], [-26, 30, 0], [26, 30, 0]])  # mm: x right, y down, z near


def landmarks(turned: float, roll: float = 0.0, pitch: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """A head as the picture shows it: float64 [10]."""
    a, b, c = np.radians([turned, pitch, roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (200 + scale * (HEAD @ (about_z @ about_x @ about_y).T)[:, :2]).ravel()


def detections(yaws) -> list[np.ndarray]:
    """One face of 15 columns in each frame; None for a frame without one."""
    box = [150, 150, 250, 250, 0.9]
    return [np.zeros((0, 15), np.float32) if a is None else np.array([[*box, *landmarks(a)]], np.float32) for a in yaws]


@pytest.mark.parametrize("turned", [-70, -45, -20, 0, 20, 45, 70, 85])
def test_yaw_is_the_angle_that_a_head_is_turned_by(turned):
    assert yaw(landmarks(turned)) == pytest.approx(turned, abs=2)


@pytest.mark.parametrize("roll", [-60, -25, 40, 90, 180])
def test_yaw_does_not_depend_on_roll_or_size(roll):
    assert yaw(landmarks(30, roll, scale=3)) == pytest.approx(float(yaw(landmarks(30))), abs=1e-6)


@pytest.mark.parametrize("pitch", [-15, 15])
def test_a_nod_hardly_changes_yaw(pitch):
    assert yaw(landmarks(30, pitch=pitch)) == pytest.approx(30, abs=5)


def test_yaw_of_many_faces_is_that_of_each():
    angles = np.array([[-50.0, 0, 10], [20, 40, 60]])
    faces = np.array([[landmarks(a) for a in row] for row in angles], np.float32)
    assert np.allclose(yaw(faces), angles, atol=2)
    assert yaw(np.zeros(10)) == 0


def test_weight_is_one_for_moderate_views_and_fades_to_zero_in_profile():
    assert np.all(opacity(np.array([-FRONTAL, -20, 0, 30, FRONTAL])) == 1)
    assert np.all(opacity(np.array([-90, -PROFILE, PROFILE, 80, 179])) == 0)
    between = opacity(np.linspace(FRONTAL, PROFILE, 50))
    assert np.all(np.diff(between) < 0)
    assert np.abs(np.diff(between)).max() < 0.04
    assert between.dtype == np.float32


def test_weights_of_a_track_follow_the_head_and_one_bad_frame_changes_little():
    turning = [*[0] * 20, *np.linspace(0, 80, 20), *[80] * 20]
    found = detections(turning)
    weights = opacities(found, follow_face(found))
    assert weights.shape == (60,) and weights.dtype == np.float32
    assert np.all(weights[:25] == 1) and np.all(weights[-15:] == 0)
    assert np.all(np.diff(weights) <= 0) and np.diff(weights).min() > -0.35
    found = detections([*[0] * 10, 89, *[0] * 10])
    assert np.all(opacities(found, follow_face(found)) == 1)


def test_frames_between_detections_get_the_weight_between():
    found = detections([*[80] * 10, None, None, None, *[80] * 10])
    track = follow_face(found)
    assert track.interpolated[11]
    assert np.all(opacities(found, track) == 0)


def test_a_cut_separates_the_weights_of_two_shots():
    found = detections([*[0] * 10, *[80] * 10])
    weights = opacities(found, follow_face(found, cuts=[10]))
    assert np.all(weights[:10] == 1) and np.all(weights[10:] == 0)


def test_the_tracked_face_counts_not_another_one():
    other = np.array([*[400, 150, 440, 190, 0.95], *landmarks(85)], np.float32)
    found = [np.stack([other, faces[0]]) for faces in detections([0] * 10)]
    assert np.all(opacities(found, follow_face(found)) == 1)


def test_detections_without_landmarks_or_faces_weigh_one():
    found = [faces[:, :5] for faces in detections([80] * 5)] + [np.zeros((0, 5), np.float32)] * 15
    assert np.array_equal(opacities(found, follow_face(found)), np.ones(20, np.float32))
