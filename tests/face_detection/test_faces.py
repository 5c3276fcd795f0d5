"""Faces in frames, one face over time, its crop."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

import face_detection
import golden
from face_detection import S3FD, RetinaFace, build_detector
from face_detection.crop import crop, pad_and_clip
from face_detection.find import find_faces
from face_detection.track import MAX_GAP, follow_face
from footage import face, frames_of
from portrait import portrait
from utils.errors import InputError
from utils.images import Rect

FACE = (178, 57, 273, 177)  # of the portrait, by eye


def iou(a, b) -> float:
    return float(box_iou(torch.tensor(a)[None, :4].float(), torch.tensor(b)[None, :4].float()))


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_portraits_face_is_found_at_any_size_in_the_frames_own_pixels(scale):
    image = cv2.resize(portrait(), None, fx=scale, fy=scale)
    (found,) = RetinaFace().detect([image])
    assert found.dtype == np.float32
    assert found.shape == (1, 5)
    assert iou(found[0] / scale, FACE) > 0.85
    assert found[0, 4] > 0.9


@pytest.mark.slow
@torch.no_grad()
def test_s3fd_scales_boxes_of_large_frames_back():
    detector = S3FD(golden.state_dict("s3fd"))
    small = (golden.tensor("s3fd_img", 2, 128, 160, 3).numpy()[0] * 255).astype(np.uint8)
    small = cv2.resize(small, (640, 128), interpolation=cv2.INTER_NEAREST)
    large = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)  # reduced again to exactly `small`
    (boxes,), (boxes_large,) = detector.detect([small]), detector.detect([large])
    assert len(boxes) > 5
    assert np.abs(boxes_large[:, :4] / 2 - boxes[:, :4]).max() < 0.05


def test_batches_give_the_boxes_of_single_frames_with_two_faces_or_none():
    empty = np.full_like(portrait(), 90)
    pairs = (empty, empty), (portrait(), empty), (portrait(), portrait())
    frames, detector = [np.hstack(pair) for pair in pairs], RetinaFace()
    single = [detector.detect([frame])[0] for frame in frames]
    assert [found.shape for found in single] == [(0, 5), (1, 5), (2, 5)]
    for batch_size in (1, 2, 16):
        batched = list(find_faces(iter(frames), detector, batch_size))
        assert all(np.allclose(a, b, atol=0.01) for a, b in zip(batched, single, strict=True))


def test_the_detector_is_chosen_by_what_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(face_detection, "S3FD_WEIGHTS", tmp_path / "s3fd.pth")
    assert build_detector("auto").name == "RetinaFace"
    with pytest.raises(InputError, match=r"weights\.py fetch s3fd"):
        build_detector("sfd")
    torch.save(golden.state_dict("s3fd"), tmp_path / "s3fd.pth")
    assert build_detector("auto").name == "S3FD"
    assert build_detector("retinaface").name == "RetinaFace"


def test_a_short_gap_is_bridged_between_its_neighbours():
    track = follow_face(frames_of(*[[face(100)]] * 4, [], [], [], *[[face(140)]] * 4), smooth=False)
    assert track.found.all()
    assert track.interpolated.tolist() == [False] * 4 + [True] * 3 + [False] * 4
    assert track.boxes[4:7, 0].tolist() == [110, 120, 130]
    assert len(set(track.segment)) == 1


def test_a_long_gap_stays_empty_and_splits_the_track():
    assert not follow_face(frames_of([], [], [])).found.any()
    gap = [[]] * (MAX_GAP + 1)
    track = follow_face(frames_of(*[[face(100)]] * 6, *gap, *[[face(100)]] * 6))
    assert track.found.sum() == 12
    assert not track.found[6:-6].any()
    assert track.segment[0] != track.segment[-1]


def test_the_face_that_fills_most_of_the_video_is_followed_when_two_are_there():
    large, small = face(100, size=120), face(400, size=60, score=0.99)
    track = follow_face(frames_of(*[[small]] * 3, *[[small, large], [large, small]] * 10))
    assert (track.boxes[3:, 0] == 100).all()
    assert not track.found[:3].any()  # before the large one came: somebody else


def test_boxes_are_not_smoothed_across_a_cut():
    track = follow_face(frames_of(*[[face(0)]] * 8, *[[face(300)]] * 8))
    assert track.boxes[:8, 0].tolist() == [0] * 8
    assert track.boxes[8:, 0].tolist() == [300] * 8


def test_pads_grow_the_box_and_the_frame_clips_it():
    assert pad_and_clip((10, 20, 50, 60), (1, 2, 3, 4), 100, 200) == Rect(7, 19, 54, 62)
    assert pad_and_clip((10, 20, 195, 98), (30, 10, 30, 10), 100, 200) == Rect(0, 0, 200, 100)
    assert not pad_and_clip((150, 20, 250, 60), (0, 0, 0, 0), 100, 150).usable
    image = np.zeros((100, 200, 3), np.uint8)
    assert crop(image, Rect(7, 19, 54, 62)).shape == (43, 47, 3)
