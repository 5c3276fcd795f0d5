"""What footage shows that small weights draw badly."""

import numpy as np
import pytest

from demo import showcase
from dubbing.mouths import limits
from dubbing.options import Options
from dubbing.samples import Samples, look_at
from dubbing.source import FrameTransform, Source
from media import yuv


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Of a recording: the mouth closed, and with teeth."""
    source = Source(showcase.PEOPLE[0].face, FrameTransform(), False, None)
    return look_at(source.frames_at("yuv420p", [0.1, 1.3]), Options(), "cpu")


@pytest.fixture
def faces(samples) -> list[np.ndarray]:
    return [face.copy() for face in samples.followed]


def test_teeth_are_counted_where_they_show(samples, faces):
    pictures = [yuv.to_bgr(frame.picture) for frame in samples.frames]
    assert limits(pictures, faces) == ["teeth in 1 of 2 frames"]
    assert limits(pictures[:1], faces[:1]) == []


def test_smiles_beards_and_turned_heads_are_counted_and_small_faces_are_not(samples, faces):
    closed = yuv.to_bgr(samples.frames[0].picture)
    wide, turned, small, face = (faces[0].copy() for _ in range(4))
    eyes, mouth = face[[5, 7]], face[[11, 13]]
    wide[[11, 13]] = mouth.mean() + np.array([-0.5, 0.5]) * (eyes[1] - eyes[0])
    turned[9] = face[7]  # the nose below the left eye
    small[5:] *= 0.2
    bearded, down = closed.copy(), face[[12, 14]].mean() - face[[6, 8]].mean()
    chin = face[[12, 14]].mean() + down * np.array([0.35, 0.7])
    bearded[int(chin[0]) : int(chin[1]), int(mouth[0]) : int(mouth[1])] //= 3
    for picture, shown, seen in (
        (closed, wide, "a wide smile"), (closed, turned, "a head turned"), (bearded, face, "a dark beard"),
    ):  # fmt: skip
        assert any(words.startswith(seen) for words in limits([picture], [shown])), seen
    assert limits([bearded], [small]) == []
