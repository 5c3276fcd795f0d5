"""The parts of a dub: what is shown when, and how the mouth goes back into the picture."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dubbing.faces import mouth_inside
from dubbing.options import Options
from dubbing.paste import FaceRegion, blend, match_colours, paste_face, soft_mask, upright_crop
from dubbing.source import Source
from face_detection import RetinaFace
from face_detection.crop import to_network_size
from footage import encode, number_of
from media import codecs, yuv
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import portrait
from utils.images import Rect

RATE = 16_000


def shown(source: Source, seconds: float, **how) -> list[tuple[int, float]]:
    frames = [
        (f.number, f.time, number_of(yuv.to_bgr(f.picture))) for f in source.extend_frames("yuv420p", seconds, **how)
    ]
    assert all(number == seen for number, _, seen in frames)
    return [(number, time) for number, time, _ in frames]


@pytest.mark.parametrize(
    ("name", "extend", "numbers"),
    [
        ("a.mp4", "loop", [*range(30), *range(30), *range(10)]),
        ("a.h264", "pingpong", [*range(30), *range(28, 0, -1), *range(12)]),  # without time stamps to seek by
        ("a.avi", "hold", [*range(30), *[29] * 40]),
    ],
)
def test_a_short_video_is_extended_as_asked_with_even_times(tmp_path, name, extend, numbers):
    video = encode(tmp_path / name, "mpeg4" if name == "a.avi" else "libx264", frames=30)
    source = Source(video, Options())
    played = shown(source, 2.8, extend=extend)
    assert [number for number, _ in played] == numbers
    assert np.allclose([time for _, time in played], np.arange(70) / 25, atol=1e-4)


@pytest.mark.parametrize(("turns", "pix_fmt"), [(0, "yuv420p"), (1, "yuv422p"), (2, "yuv444p"), (3, "yuv420p10le")])
def test_pictures_are_turned_and_cut_without_changing_a_sample(turns, pix_fmt):
    picture = yuv.from_bgr(cv2.GaussianBlur(portrait(), (0, 0), 3)[:200, :240], pix_fmt)
    turned = yuv.rotate_crop(picture, turns, Rect(20, 10, 100, 90))
    y = np.rot90(yuv.planes(picture)[0], turns)[10:90, 20:100]
    assert np.array_equal(yuv.planes(turned)[0], y)
    expected = np.rot90(yuv.to_bgr(picture), turns)[10:90, 20:100]
    assert np.abs(yuv.to_bgr(turned).astype(int) - expected)[4:-4, 4:-4].mean() < 1.0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_blending_changes_nothing_where_the_mask_is_zero_and_replaces_where_it_is_one(pix_fmt):
    picture = yuv.from_bgr(portrait(), pix_fmt)
    before = [plane.copy() for plane in yuv.planes(picture)]
    rect, mask = Rect(101, 51, 180, 140), np.zeros((89, 79), np.float32)
    mask[40:, 20:60] = 1
    green = np.full((89, 79, 3), (40, 180, 60), np.uint8)
    yuv.blend_bgr(picture, rect, green, mask)
    after = yuv.to_bgr(picture)
    assert np.abs(after[95:136, 125:157].astype(int) - (40, 180, 60)).max() <= 3
    for old, new in zip(before, yuv.planes(picture), strict=True):
        across, down = 512 // new.shape[1], 512 // new.shape[0]
        changed = np.argwhere(old != new) * (down, across)
        assert changed.min(axis=0)[0] >= 91 - down
        assert changed.min(axis=0)[1] >= 121 - across
        assert changed.max(axis=0)[0] < 140
        assert changed.max(axis=0)[1] < 161


def test_a_full_range_picture_is_blended_with_in_its_own_range():
    full = yuv.from_bgr(portrait(), "yuv420p").reformat(format="yuv420p", dst_color_range=yuv.FULL_RANGE)
    full.color_range = yuv.FULL_RANGE
    white = np.full((80, 80, 3), 255, np.uint8)
    yuv.blend_bgr(full, Rect(100, 100, 180, 180), white, np.ones((80, 80), np.float32))
    assert (yuv.planes(full)[0][104:176, 104:176] >= 254).all()  # in limited range white is 235


def test_a_part_is_cut_as_it_is_in_the_whole_picture():
    rect = (33, 7, 155, 96)
    picture = yuv.from_bgr(portrait(), "yuv420p")
    whole = yuv.to_bgr(picture)[rect[1] : rect[3], rect[0] : rect[2]]
    np.testing.assert_array_equal(yuv.cut_bgr(picture, Rect(*rect)), whole)


def test_the_soft_mask_leaves_the_upper_half_and_the_edges_alone():
    mask = soft_mask(96)
    assert (mask[:48] == 0).all()
    assert mask[:, [0, -1]].max() == 0
    assert mask[-1].max() < 0.01
    assert mask[60:86, 32:64].min() > 0.9
    assert np.abs(np.diff(mask, axis=0)).max() < 0.2


def test_colours_of_the_mouth_are_matched_to_the_skin_around_it():
    skin = cv2.resize(portrait()[57:177, 178:273], (96, 96))
    tinted = np.clip(skin + np.array([14, -9, 11]), 0, 255).astype(np.uint8)
    matched = match_colours(tinted, skin)
    inside = soft_mask(96) > 0
    assert np.abs(matched.astype(int) - skin)[inside].mean() < 1.0
    assert np.abs(tinted.astype(int) - skin)[inside].mean() > 9


@pytest.mark.parametrize("tilt", [0.0, 25.0])
def test_a_face_that_goes_back_unchanged_leaves_the_picture_as_it_was(tilt):
    picture = yuv.from_bgr(portrait(), "yuv420p")
    region = FaceRegion(Rect(178, 57, 274, 177), tilt)
    seen = to_network_size(upright_crop(picture, region), 96)
    paste_face(picture, region, seen, soft_mask(96), "soft")
    changed = np.abs(yuv.to_bgr(picture).astype(int) - portrait())
    assert changed[57:177, 178:274].mean() < 3
    assert np.array_equal(blend(seen, seen, soft_mask(96)), seen)


def test_a_mouth_in_black_and_white_stays_so():
    noise = 1  # level of colour that a codec left
    grey = np.repeat(cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    picture = yuv.from_bgr(grey, "yuv420p")
    for plane in yuv.planes(picture)[1:]:
        plane[:] += np.random.default_rng(0).integers(-noise, noise + 1, plane.shape).astype(np.uint8)
    before = yuv.clone(picture)
    pink = np.full((96, 96, 3), (120, 130, 220), np.uint8)
    paste_face(picture, FaceRegion(Rect(178, 57, 274, 177)), pink, soft_mask(96), "soft")
    changed = [not np.array_equal(*both) for both in zip(yuv.planes(picture), yuv.planes(before), strict=True)]
    assert changed == [True, False, False]


def test_a_face_whose_mouth_lies_outside_the_frame_is_told():
    tall = portrait()
    for rows, inside in ((512, True), (165, True), (130, False)):  # the mouth is around row 147
        (found,) = RetinaFace().detect([tall[:rows]])
        assert len(found) == 1
        assert mouth_inside(found[0, :4], rows, 512) == inside


@pytest.mark.skipif("h264_qsv" not in av.codecs_available, reason="this build of FFmpeg has no such encoder")
def test_an_encoder_that_takes_nv12_alone_is_handed_it(tmp_path):
    assert (codecs.choose("h264_qsv", ".mp4").pix_fmt, codecs.choose("h264_qsv", ".mp4").layout) == ("yuv420p", "nv12")
    encoding = codecs.Encoding("libx264", "yuv420p", {"crf": "1"}, layout="nv12")
    with VideoWriter(tmp_path / "a.mp4", Fraction(25), encoding=encoding) as writer:
        writer.write(portrait(), 0.0)
    (frame,) = VideoReader(tmp_path / "a.mp4").frames()
    assert np.abs(frame.image.astype(int) - portrait()).mean() < 3
