"""Heads turned to the side: the yaw from five landmarks, and the weight that follows from it."""

import numpy as np
import pytest

from dubbing.landmarks import FRONTAL, PROFILE, opacities, opacity, yaw
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


def test_yaw_is_the_angle_that_a_head_is_turned_by_whatever_its_roll_size_or_nod():
    angles = [-70.0, -45, 0, 20, 85]
    assert np.allclose(yaw(np.array([landmarks(angle) for angle in angles])), angles, atol=2)
    assert yaw(landmarks(30, roll=-60, scale=3)) == pytest.approx(float(yaw(landmarks(30))), abs=1e-6)
    assert yaw(landmarks(30, pitch=15)) == pytest.approx(30, abs=5)
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
    other = np.array([*[400, 150, 440, 190, 0.95], *landmarks(85)], np.float32)  # of somebody else
    found = [np.stack([other, faces[0]]) for faces in detections([*[0] * 10, 89, *[0] * 10])]
    assert np.all(opacities(found, follow_face(found)) == 1)


def test_a_cut_separates_the_weights_of_two_shots():
    found = detections([*[0] * 10, *[80] * 10])
    weights = opacities(found, follow_face(found, cuts=[10]))
    assert np.all(weights[:10] == 1) and np.all(weights[10:] == 0)


def test_detections_without_landmarks_or_faces_weigh_one():
    found = [faces[:, :5] for faces in detections([80] * 5)] + [np.zeros((0, 5), np.float32)] * 15
    assert np.array_equal(opacities(found, follow_face(found)), np.ones(20, np.float32))
