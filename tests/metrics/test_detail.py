"""Measures of a mouth's detail: what each tells apart, and what it does not count."""

import cv2
import numpy as np
import pytest
import skimage.data

from metrics import detail

SIZE = 192


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Six frames of a real face, moved by a pixel from frame to frame: uint8 BGR [6, 192, 192, 3]."""
    face = cv2.resize(skimage.data.astronaut()[60:200, 160:290, ::-1], (SIZE + 8, SIZE + 8))
    return np.stack([face[:SIZE, n : n + SIZE] for n in range(6)])


def blurred(faces: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in faces])


def noisy(faces: np.ndarray, level: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(faces + rng.normal(0, level, faces.shape), 0, 255).astype(np.uint8)


def test_equal_faces_have_the_best_of_every_score(faces):
    scores = detail.detail_scores(faces, faces)
    assert scores["mouth_psnr"] == pytest.approx(100)
    assert scores["mouth_ssim"] == pytest.approx(1)
    assert scores["gradient_distance"] == pytest.approx(0, abs=1e-6)
    assert scores["sharpness_ratio"] == pytest.approx(1)
    assert scores["flicker_ratio"] == pytest.approx(1)


def test_every_likeness_falls_with_blur(faces):
    each = [detail.detail_scores(blurred(faces, sigma), faces) for sigma in (1, 2, 4)]
    for name, sign in (("mouth_psnr", 1), ("mouth_ssim", 1), ("gradient_distance", -1), ("sharpness_ratio", 1)):
        values = [sign * scores[name] for scores in each]
        assert values == sorted(values, reverse=True), name


def test_what_lies_outside_the_mouths_area_does_not_count(faces):
    other = faces.copy()
    other[:, : SIZE // 2 - 8] = 255 - other[:, : SIZE // 2 - 8]
    assert detail.mouth_psnr(other, faces) == pytest.approx(100)
    assert detail.mouth_ssim(other, faces) == pytest.approx(1)
    assert detail.sharpness(other) == pytest.approx(detail.sharpness(faces))


def test_noise_flickers_and_a_still_mouth_does_not(faces):
    assert detail.flicker(noisy(faces, 6), faces) > 1.5
    assert detail.flicker(faces[:1].repeat(6, axis=0), faces) == 0


def test_psnr_is_of_the_mean_squared_error():
    true = np.full((2, 96, 96, 3), 100, np.uint8)
    assert detail.mouth_psnr(true + 10, true) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


def moved(faces: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(faces, (pixels, pixels), axis=(1, 2))


def test_gradients_are_farther_the_more_blurred_and_the_farther_moved_the_faces_are(faces):
    for changed, amounts in ((blurred, (0.5, 1, 2, 4)), (moved, (1, 2, 4))):
        distances = [detail.gradient_distance(changed(faces, amount), faces) for amount in amounts]
        assert distances == sorted(distances), changed.__name__


def test_blur_is_farther_in_gradients_than_sharp_detail_a_pixel_aside(faces):
    aside, soft = moved(faces, 1), blurred(faces, 2)
    assert detail.gradient_distance(aside, faces) < detail.gradient_distance(soft, faces)
    assert detail.mouth_ssim(aside, faces) < detail.mouth_ssim(soft, faces)  # which would have it the other way


def test_another_mouth_is_farther_in_gradients_than_a_little_noise_or_light(faces):
    upside_down = faces.copy()
    upside_down[:, SIZE // 2 :] = upside_down[:, SIZE // 2 :][:, ::-1]
    distance = detail.gradient_distance(upside_down, faces)
    assert distance > 3 * detail.gradient_distance(noisy(faces, 2), faces)
    lighter = np.clip(faces.astype(np.int16) + 10, 0, 255).astype(np.uint8)
    assert distance > 10 * detail.gradient_distance(lighter, faces)
