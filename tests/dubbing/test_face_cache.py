"""Faces that are known from an earlier dub: the result is what it is without them."""

import numpy as np
import pytest

from dubbing.faces import Detections, read_cache, write_cache
from footage import planes_of, record_of, write_video
from portrait import portrait
from utils.files import CACHE_FOLDER


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path))
    return tmp_path / "faces"


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A video whose face comes after 0.6 s, and a second one, on the left, after 0.8 s."""
    empty = np.full((300, 800, 3), 90, np.uint8)
    right, both = empty.copy(), empty.copy()
    right[:, 400:] = both[:, 400:] = portrait()[:300, :400]
    both[:, :400] = portrait()[:300, :400]
    return write_video(tmp_path_factory.mktemp("late") / "late.mkv", [empty] * 15 + [right] * 5 + [both] * 5)


@pytest.mark.slow
def test_people_are_counted_in_what_the_preview_shows(dub, late, cache):
    assert dub("--face", late, "--no_score").code == 0
    result = dub("--face", late, "--preview", 0.76, "--face_index", 1)
    assert (result.code, "at most 1 face is" in result.error) == (2, True)


@pytest.mark.slow
def test_a_dub_with_faces_from_the_cache_is_the_same_to_the_bit(dub, cache, tmp_path):
    common = ["--preview", 0.72, "--codec", "ffv1", "--align", "--no_score"]
    assert dub(*common, "--outfile", tmp_path / "first.mkv").code == 0
    assert dub(*common, "--outfile", tmp_path / "again.mkv").code == 0
    assert record_of(tmp_path / "again.mkv")["faces"]["cached"] is True
    for ours, theirs in zip(planes_of(tmp_path / "first.mkv"), planes_of(tmp_path / "again.mkv"), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_no_damage_to_the_file_is_more_than_a_file_that_is_not_there(tmp_path):
    path, rng = tmp_path / "some.faces", np.random.default_rng(0)
    detections = [rng.normal(size=(n % 3, 15)).astype(np.float32) for n in range(20)]
    write_cache(path, Detections(detections, np.zeros(19), np.arange(20) / 25))
    whole = path.read_bytes()
    assert read_cache(path) is not None
    for place in rng.integers(0, 8 * len(whole), 50):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << int(place % 8)
        path.write_bytes(damaged)
        assert read_cache(path) is None
    for length in (0, 10, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_cache(path) is None
