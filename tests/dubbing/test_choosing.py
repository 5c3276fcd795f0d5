"""Who is followed, what is said where a choice misses, and heads that do not stand upright."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from dubbing.faces import numbered_faces
from dubbing.pose import may_lie, quarter_turns
from face_detection import RetinaFace
from face_detection.boxes import shrink
from media.writer import VideoWriter
from portrait import portrait

FACES = np.array([[10, 20, 60, 90, 0.9], [100, 20, 150, 90, 0.8]], np.float32)


def film(path, picture, frames=10):
    with VideoWriter(path, Fraction(25)) as writer:
        for n in range(frames):
            writer.write(np.ascontiguousarray(picture), n / 25)
    return path


@pytest.fixture
def couple(tmp_path):
    (tmp_path / "in").mkdir()
    return film(tmp_path / "in" / "couple.mp4", np.hstack([portrait(), portrait()]))


def test_a_choice_that_misses_lists_the_faces_and_draws_them(dub, couple, tmp_path):
    for flag, value in (("--face_at", "10,500"), ("--face_index", 2)):
        missed = dub("--face", couple, flag, value)
        assert missed.code == 2
        assert missed.error.startswith(f"error: {flag} {value}")
        assert "0 at 22" in missed.error and "1 at 73" in missed.error
        assert str(tmp_path / "out.mp4.faces.png") in missed.error
        assert cv2.imread(str(tmp_path / "out.mp4.faces.png")).shape == (512, 1024, 3)
        (tmp_path / "out.mp4.faces.png").unlink()
    assert not (tmp_path / "out.mp4").exists()


def test_with_several_people_and_no_choice_it_says_who_is_followed(dub, couple, talking):
    said = dub("--face", couple, "--preview", 0.2).out
    assert "several people: face " in said and " of 2 from the left" in said and "--face_at" in said
    assert "several people" not in dub("--face", couple, "--preview", 0.2, "--face_index", 1).out
    assert "several people" not in dub("--preview", 0.2).out


def test_a_box_without_a_face_warns_where_faces_are(dub):
    missed = dub("--box", 300, 400, 300, 400, "--preview", 0.2)
    assert missed.code == 0
    assert "warning: --box 300 400 300 400: no face is found there; faces are 0 at 23" in missed.err
    assert "warning" not in dub("--box", 57, 177, 178, 273, "--preview", 0.2).err


@pytest.mark.slow
def test_heads_on_their_side_are_refused_with_what_helps(dub, tmp_path):
    (tmp_path / "in").mkdir()
    lying = film(tmp_path / "in" / "lying.mp4", np.rot90(portrait()))
    refused = dub("--face", lying)
    assert refused.code == 2
    assert "the head lies on its side; use --rotate" in refused.error
    assert dub("--face", lying, "--rotate", "--preview", 0.2).code == 0
    assert dub("--face", lying, "--align", "--preview", 0.2).code == 0
    assert "leave out --rotate" in dub("--rotate").error


def test_quarter_turns_make_a_head_upright_from_any_side():
    detector, upright = RetinaFace(landmarks=True), shrink(portrait(), 320)[0]
    for turned in range(4):
        picture = np.ascontiguousarray(np.rot90(upright, turned))  # counter-clockwise
        assert quarter_turns([picture], detector) == turned
    assert quarter_turns([np.full((240, 320, 3), 90, np.uint8)], detector) == 0
    assert not may_lie([detector.detect([upright])[0][0]])
    assert may_lie([detector.detect([np.ascontiguousarray(np.rot90(upright))])[0][0]])


def test_numbers_are_drawn_at_the_faces_and_the_picture_is_left_alone():
    picture = np.full((120, 160, 3), 128, np.uint8)
    drawn = numbered_faces(picture, FACES, followed=1)
    assert (picture == 128).all()
    changed = (drawn != picture).any(axis=2)
    assert changed[20, 10:60].all() and changed[20, 100:150].all() and not changed[100:].any()
    assert not np.array_equal(drawn[20, 30], drawn[20, 130])


def test_the_line_of_weights_names_all_of_them_and_bundled_ones_are_explained_once(
    dub, generator, script, talking, speech, tmp_path
):
    said = dub("--preview", 0.2).out
    line = next(line for line in said.splitlines() if line.startswith("weights: "))
    assert line == f"weights: {generator}"
    flags = ["--face", talking, "--audio", speech, "--outfile", tmp_path / "b.mp4", "--preview", 0.2, "--no_score"]
    said = script("inference", *flags).out
    assert said.count("not for delivery") == 1
