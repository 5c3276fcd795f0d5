"""What --occlusion on does to a dub."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from test_dubbing import BOX, planes_of, record_of

import face_detection
from media import yuv
from media.reader import VideoReader
from media.writer import VideoWriter

COVERED = range(20, 30)  # frames


@pytest.fixture(scope="module")
def covered(talking, tmp_path_factory):
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
def test_what_covers_the_mouth_stays_in_front_of_it(dub, covered, tmp_path):
    common = [*BOX, "--face", covered, "--codec", "ffv1", "--extend", "hold"]
    results = {}
    for setting in ("off", "on"):
        out = tmp_path / f"{setting}.mkv"
        assert dub(*common, "--outfile", out, "--occlusion", setting).code == 0
        results[setting] = [planes[0][140:160, 210:240].astype(int) for planes in planes_of(out)]
    source = [planes[0][140:160, 210:240].astype(int) for planes in planes_of(covered)]
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
    assert dub("--occlusion", "--preview", 0.2).code == 0
    assert record_of(tmp_path / "out.mp4")["faces"]["detector"] == "retinaface"


@pytest.mark.slow
def test_a_part_of_a_video_is_enough(dub, talking, tmp_path):
    assert dub("--preview", 0.4, "--occlusion", "on").code == 0
    record = record_of(tmp_path / "out.mp4")
    assert (record["dubbed"] + record["interpolated"], record["occluded"], record["turned"]) == (10, 0, 0)
