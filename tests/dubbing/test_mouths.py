"""What footage shows that small weights draw badly."""

import numpy as np
import pytest

from demo import showcase
from dubbing.faces import FaceFinder
from dubbing.mouths import limits
from dubbing.options import Options
from dubbing.plan import open_source
from dubbing.samples import choose_face, sample_faces
from media import yuv


@pytest.fixture(scope="module")
def mouths() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures of a recording, the mouth closed, and with teeth; and the detections in them."""
    source, options = open_source(showcase.PEOPLE[0].face, Options()), Options()
    samples = sample_faces(source.frames_at("yuv420p", [0.1, 1.3]), options, "cpu")
    faces = choose_face(FaceFinder(source, "yuv420p", 2.0, options, "cpu"), samples).followed
    return [yuv.to_bgr(frame.picture) for frame in samples.frames], faces


def test_teeth_smiles_beards_and_turned_heads_are_counted_and_small_faces_are_not(mouths):
    pictures, faces = mouths
    assert limits(pictures, faces) == ["teeth in 1 of 2 frames"]
    assert limits(pictures[:1], faces[:1]) == []
    closed = pictures[0]
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
