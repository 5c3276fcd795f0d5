"""Who is who through cuts, crossings and absences: two people of the demo side by side."""

from pathlib import Path

import numpy as np
import pytest

from dubbing.faces import chosen
from face_detection import RetinaFace
from face_detection.identity import People, people_of
from face_detection.track import FaceNotFound
from media import yuv
from media.reader import VideoReader

DEMO = Path(__file__).resolve().parent.parent.parent / "demo"
SHOT = 20  # frames
WIDTH = 360  # pixels of one person's picture
RIGHT = np.array([1, 0, 1, 0, 0, *[1, 0] * 5], np.float32)  # which columns of a detection are x


class Scene:
    """Pictures, the faces in them, and where shots begin."""

    def __init__(self):
        self.pictures, self.detections, self.cuts, self.looked_at = [], [], [], []

    def shot(self, *people, light: float = 1.0, cut: bool = True):
        """People side by side, each the (picture, detections) of every frame."""
        self.cuts += [len(self.pictures)] if cut and self.pictures else []
        for together in zip(*people, strict=True):
            self.pictures.append((light * np.hstack([picture for picture, _ in together])).astype(np.uint8))
            moved = [found + RIGHT * WIDTH * place for place, (_, found) in enumerate(together)]
            self.detections.append(np.concatenate(moved))
        return self

    def people(self) -> People:
        def pictures(numbers):
            self.looked_at += numbers
            return ((self.pictures[number], 1.0) for number in numbers)

        return people_of(self.detections, self.cuts, pictures, smooth=False)

    def places(self) -> list[list[int | None]]:
        """Of every person, where from the left he or she is in each shot's middle."""
        middles = [start + SHOT // 2 for start in range(0, len(self.pictures), SHOT)]
        tracks = self.people().tracks
        return [[int(t.boxes[n, [0, 2]].mean() // WIDTH) if t.found[n] else None for n in middles] for t in tracks]


@pytest.fixture(scope="module")
def moments():
    """The man and the woman of the demo at the beginning of their videos, and at the end."""
    detector, found = RetinaFace(landmarks=True), []
    for name in ("man", "woman"):
        pictures = [yuv.to_bgr(picture) for _, picture in VideoReader(DEMO / f"{name}.mp4").pictures()]
        for part in (pictures[:SHOT], pictures[-SHOT:]):
            faces = detector.detect(part[:1])[0]
            found.append([(picture, faces) for picture in part])
    man, man_later, woman, woman_later = found
    return man, woman, man_later, woman_later


@pytest.fixture(scope="module")
def nobody(moments):
    return [(np.full_like(picture, 90), faces[:0]) for picture, faces in moments[0]]


def test_people_who_swap_places_across_cuts_and_under_another_light_keep_their_numbers(moments):
    man, woman, man_later, woman_later = moments
    scene = Scene().shot(man, woman).shot(woman_later, man_later, light=0.5).shot(man_later, woman)
    assert scene.places() == [[0, 1, 0], [1, 0, 1]]
    assert scene.people().unsure == []


def test_who_leaves_and_comes_back_elsewhere_is_the_same_and_who_comes_later_is_somebody_new(moments, nobody):
    man, woman, man_later, woman_later = moments
    scene = Scene().shot(man, woman, nobody).shot(man, nobody, nobody, cut=False)
    scene.shot(man_later, nobody, woman_later, cut=False)
    assert scene.places() == [[0, 0, 0], [1, None, 2]]
    scene = Scene().shot(man).shot(woman).shot(man_later).shot(woman_later)
    assert scene.places() == [[0, None, 0, None], [None, 0, None, 0]]


def test_no_picture_is_looked_at_where_people_stay_apart(moments):
    scene = Scene().shot(*moments[:2]).shot(*moments[:2], cut=False)
    assert scene.places() == [[0, 0], [1, 1]]
    assert scene.looked_at == []


def test_a_face_that_could_be_either_is_left_out_and_listed(moments):
    man, woman, *_ = moments
    either = [
        ((0.465 * his + 0.535 * hers).astype(np.uint8), 0.465 * face + 0.535 * other)
        for (his, face), (hers, other) in zip(man, woman, strict=True)
    ]
    scene = Scene().shot(man, woman).shot(either)
    assert scene.places() == [[0, None], [1, None]]
    assert scene.people().unsure == [(SHOT, 2 * SHOT - 1)]


def test_people_who_cross_keep_their_numbers(moments):
    man, woman, *_ = moments
    detector, scene = RetinaFace(landmarks=True), Scene()
    for n, ((behind, _), (before, _)) in enumerate(zip(man + man, woman + woman, strict=True)):
        picture, moved = np.full((288, 3 * WIDTH, 3), 90, np.uint8), round(n * 2 * WIDTH / (2 * SHOT - 1))
        picture[:, WIDTH : 2 * WIDTH] = behind
        picture[:, moved + 80 : moved + 310] = before[:, 80:310]
        scene.pictures.append(picture)
        scene.detections.append(detector.detect([picture])[0])
    woman_track, man_track = scene.people().tracks

    assert woman_track.boxes[[0, -1], 0].tolist() == pytest.approx([132, 132 + 2 * WIDTH], abs=8)
    assert man_track.boxes[[0, -1], 0].tolist() == pytest.approx([WIDTH + 124] * 2, abs=8)


def test_people_are_chosen_by_number_or_by_a_point_and_not_twice(moments):
    scene = Scene().shot(*moments[:2])
    people = scene.people()
    right, left = chosen(people, [(WIDTH + 190, 150), 0])
    assert (left.boxes[0, 0] < WIDTH) and (right.boxes[0, 0] > WIDTH)
    for wanted, fault in (
        ([0, 2], "--voice 2: .*the 2 who"),
        ([(5.0, 5.0)], "--voice 5,5"),
        ([1, (WIDTH + 190, 150)], "two voices"),
    ):
        with pytest.raises(FaceNotFound, match=fault):
            chosen(people, wanted)
