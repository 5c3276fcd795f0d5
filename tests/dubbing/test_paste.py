"""How the mouth goes back into the picture: which samples change, its colours, its detail and grain."""

import cv2
import numpy as np
import pytest

from dubbing.paste import FaceRegion, match_colours, noise, paste_face, soft_mask, upright_crop
from face_detection.crop import resized
from media import yuv
from metrics.similarity import mouth_sharpness
from portrait import portrait
from utils.images import Rect

RATE = 16_000


@pytest.mark.parametrize(("turns", "pix_fmt"), [(1, "yuv422p"), (3, "yuv420p10le")])
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


def test_colours_of_the_mouth_are_matched_to_the_skin_around_it():
    skin = cv2.resize(portrait()[57:177, 178:273], (96, 96))
    tinted = np.clip(skin + np.array([14, -9, 11]), 0, 255).astype(np.uint8)
    matched = match_colours(tinted, skin)
    inside = soft_mask(96) > 0
    assert np.abs(matched.astype(int) - skin)[inside].mean() < 1.0
    assert np.abs(tinted.astype(int) - skin)[inside].mean() > 9


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


def textured(height: int, width: int, finest: float = 0.8) -> np.ndarray:
    """Detail of all sizes, as skin and teeth have, down to what a lens still shows: uint8 BGR."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), finest * 2**n) * 2**n * finest * 30
        for n in range(4)
    ]
    return np.clip(128 + sum(layers)[..., None].repeat(3, axis=2), 0, 255).astype(np.uint8)


def framed(face: np.ndarray) -> tuple:
    """A frame with the face in its middle, and where."""
    height, width = face.shape[:2]
    image = cv2.copyMakeBorder(face, 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    return yuv.from_bgr(image, "yuv444p"), FaceRegion(Rect(20, 20, 20 + width, 20 + height))


def at(face: np.ndarray, size: int) -> float:
    return mouth_sharpness(resized(face, size, size)[None])


@pytest.mark.parametrize(("height", "width", "size"), [(110, 90, 512), (384, 300, 192), (384, 300, 512)])
def test_a_perfect_refiner_leaves_the_picture_as_sharp_as_it_was(height, width, size):
    picture, region = framed(textured(height, width))
    true = upright_crop(picture, region)
    paste_face(picture, region, resized(true, size, size), soft_mask(96), "soft", refined=1.0)
    pasted = upright_crop(picture, region)
    assert 0.95 < at(pasted, size) / at(true, size) < 1.05


@pytest.mark.parametrize(("height", "width", "tilt"), [(110, 90, 0.0), (384, 300, 20.0)])
def test_a_clean_mouth_is_given_the_grain_of_the_picture_at_any_size(height, width, tilt):
    clean = cv2.GaussianBlur(textured(height, width, finest=4), (0, 0), 3)
    grain = np.random.default_rng(1).normal(0, 5, clean.shape[:2])[..., None]
    picture, region = framed(np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8))
    rows, columns = np.mgrid[:height, :width]
    down, turn = 0.25 * height, np.radians(tilt)
    mouth = np.hypot(rows - height / 2 - down * np.cos(turn), columns - width / 2 + down * np.sin(turn)) < height / 12
    before = noise(yuv.luma(picture, region.rect), mouth)
    tilted = region._replace(tilt=tilt)
    paste_face(picture, tilted, resized(clean, 256, 256), soft_mask(96), "soft", refined=1.0, number=3)
    assert noise(yuv.luma(picture, region.rect), mouth) == pytest.approx(before, rel=0.2)
