"""The parts of a dub: what is shown when, and how the mouth goes back into the picture."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from dubbing.faces import mouth_inside
from dubbing.paste import FaceRegion, blend, match_colours, paste_face, soft_mask, upright_crop
from dubbing.pose import LANDMARKS, tilt
from dubbing.source import FrameTransform, Source
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


@pytest.mark.parametrize("name", ["a.mp4", "a.h264", "a.avi"])  # .h264 has no time stamps to seek by
@pytest.mark.parametrize(
    ("extend", "numbers"),
    [
        ("loop", [*range(30), *range(30), *range(10)]),
        ("pingpong", [*range(30), *range(28, 0, -1), *range(12)]),
        ("hold", [*range(30), *[29] * 40]),
    ],
)
def test_a_short_video_is_extended_as_asked_with_even_times(tmp_path, extend, numbers, name):
    video = encode(tmp_path / name, "mpeg4" if name == "a.avi" else "libx264", frames=30)
    source = Source(video, FrameTransform(), False, 25)
    played = shown(source, 2.8, extend=extend)
    assert [number for number, _ in played] == numbers
    assert np.allclose([time for _, time in played], np.arange(70) / 25, atol=1e-4)


def test_with_the_whole_length_the_video_goes_on_after_the_speech(tmp_path):
    source = Source(encode(tmp_path / "a.mp4", "libx264", frames=30), FrameTransform(), False, 25)
    assert len(shown(source, 0.5)) == 13
    assert len(shown(source, 0.5, whole=True)) == 30


def test_reading_may_begin_in_the_middle(tmp_path):
    reader = VideoReader(encode(tmp_path / "a.mp4", "libx264", frames=60))
    times = [time for time, _ in reader.pictures()]
    later = list(reader.pictures(since=times[37]))
    assert [time for time, _ in later] == times[37:]
    assert number_of(yuv.to_bgr(later[0][1])) == 37


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_pictures_are_turned_and_cut_without_changing_a_sample(turns, pix_fmt):
    picture = yuv.from_bgr(cv2.GaussianBlur(portrait(), (0, 0), 3)[:200, :240], pix_fmt)
    turned = yuv.rotate_crop(picture, turns, Rect(20, 10, 100, 90))
    y = np.rot90(yuv.planes(picture)[0], turns)[10:90, 20:100]
    assert np.array_equal(yuv.planes(turned)[0], y)
    expected = np.rot90(yuv.to_bgr(picture), turns)[10:90, 20:100]
    assert np.abs(yuv.to_bgr(turned).astype(int) - expected)[4:-4, 4:-4].mean() < 1.0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "yuv420p10le"])
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


def test_a_full_range_picture_stays_one():
    limited = yuv.from_bgr(portrait(), "yuv420p")
    full = limited.reformat(format="yuvj420p", dst_color_range=yuv.FULL_RANGE)
    full.color_range = yuv.FULL_RANGE
    same = yuv.to_format(full, "yuv420p")
    assert (same.format.name, same.color_range) == ("yuv420p", yuv.FULL_RANGE)
    assert np.array_equal(yuv.planes(same)[0], yuv.planes(full)[0])
    assert np.abs(yuv.cut_bgr(same, Rect(178, 57, 274, 178)).astype(int) - portrait()[57:178, 178:274]).mean() < 3


@pytest.mark.parametrize("rect", [(33, 7, 155, 96), (90, 20, 512, 301), (0, 400, 77, 512)])
def test_a_part_is_cut_as_it_is_in_the_whole_picture(rect):
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


def test_the_colour_match_moves_no_level_far():
    dark, bright = (np.full((96, 96, 3), level, np.uint8) for level in (40, 200))
    inside = soft_mask(96) > 0
    assert (match_colours(dark, bright)[inside] == 40 + 30).all()
    assert (match_colours(bright, dark)[inside] == 200 - 30).all()


@pytest.mark.parametrize("tilt", [0.0, 25.0, -40.0])
def test_a_face_that_goes_back_unchanged_leaves_the_picture_as_it_was(tilt):
    picture = yuv.from_bgr(portrait(), "yuv420p")
    region = FaceRegion(Rect(178, 57, 274, 177), tilt)
    seen = to_network_size(upright_crop(picture, region), 96)
    paste_face(picture, region, seen, soft_mask(96), "soft")
    changed = np.abs(yuv.to_bgr(picture).astype(int) - portrait())
    assert changed[57:177, 178:274].mean() < 3
    assert np.array_equal(blend(seen, seen, soft_mask(96)), seen)


@pytest.mark.parametrize("noise", [0, 1])  # levels of colour that a codec left
def test_a_mouth_in_black_and_white_stays_so(noise):
    grey = np.repeat(cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    picture = yuv.from_bgr(grey, "yuv420p")
    for plane in yuv.planes(picture)[1:]:
        plane[:] += np.random.default_rng(0).integers(-noise, noise + 1, plane.shape).astype(np.uint8)
    before = yuv.clone(picture)
    pink = np.full((96, 96, 3), (120, 130, 220), np.uint8)
    paste_face(picture, FaceRegion(Rect(178, 57, 274, 177)), pink, soft_mask(96), "soft")
    changed = [not np.array_equal(*both) for both in zip(yuv.planes(picture), yuv.planes(before), strict=True)]
    assert changed == [True, False, False]


def test_a_tilted_head_is_seen_upright():
    height, width = portrait().shape[:2]
    middle = (226.0, 117.0)  # of the face
    turned = cv2.warpAffine(portrait(), cv2.getRotationMatrix2D(middle, -30, 1.0), (width, height))
    upright = upright_crop(yuv.from_bgr(portrait(), "yuv420p"), FaceRegion(Rect(178, 57, 274, 177)))
    seen = upright_crop(yuv.from_bgr(turned, "yuv420p"), FaceRegion(Rect(178, 57, 274, 177), 30.0))
    assert np.abs(seen.astype(int) - upright)[8:-8, 8:-8].mean() < 5
    straight, tilted = RetinaFace(landmarks=True).detect([portrait(), turned])
    assert tilt(tilted[0, LANDMARKS]) - tilt(straight[0, LANDMARKS]) == pytest.approx(30, abs=8)


def test_a_face_whose_mouth_lies_outside_the_frame_is_told():
    tall = portrait()
    for rows, inside in ((512, True), (165, True), (130, False)):  # the mouth is around row 147
        (found,) = RetinaFace().detect([tall[:rows]])
        assert len(found) == 1
        assert mouth_inside(found[0, :4], rows, 512) == inside


@pytest.mark.skipif("h264_nvenc" not in av.codecs_available, reason="this build of FFmpeg has no such encoder")
def test_encoders_in_hardware_are_told_the_quality_in_their_own_way():
    assert codecs.choose("h264_nvenc", ".mp4").options == {"cq": "20"}
    assert codecs.choose("h264_nvenc", ".mp4").layout is None
    assert codecs.choose("h264_nvenc", ".mov", crf=25, preset="p4").options == {"cq": "25", "preset": "p4"}


@pytest.mark.skipif("h264_qsv" not in av.codecs_available, reason="this build of FFmpeg has no such encoder")
def test_an_encoder_that_takes_nv12_alone_is_handed_it(tmp_path):
    assert (codecs.choose("h264_qsv", ".mp4").pix_fmt, codecs.choose("h264_qsv", ".mp4").layout) == ("yuv420p", "nv12")
    encoding = codecs.Encoding("libx264", "yuv420p", {"crf": "1"}, layout="nv12")
    with VideoWriter(tmp_path / "a.mp4", Fraction(25), encoding=encoding) as writer:
        writer.write(portrait(), 0.0)
    (frame,) = VideoReader(tmp_path / "a.mp4").frames()
    assert np.abs(frame.image.astype(int) - portrait()).mean() < 3
