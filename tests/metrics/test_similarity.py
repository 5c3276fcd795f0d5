"""Scores of mouths beside the true ones: what each tells apart, and what it does not count."""

import cv2
import numpy as np
import pytest
import skimage.data

from demo import showcase
from face_detection.crop import NO_PADS, crop, pad_and_clip
from media.reader import VideoReader
from metrics.score_report import SHARP, SMEARED
from metrics.similarity import articulation, detail_scores, likeness, mouth_area
from metrics.videos import frame_likeness, mean_likeness

SIZE = 192
SPEECH = (1 + np.sin(np.arange(50) / 2)) / 2
BOX = np.array([124.0, 66.0, 245.0, 252.0])  # of the face in demo/man.mp4


def talking(openings: np.ndarray, depth: int = 100) -> np.ndarray:
    """Faces with a dark mouth as high as `openings` (0..1), `depth` levels darker: uint8 BGR [N, 96, 96, 3]."""
    faces = np.full((len(openings), 96, 96, 3), 160, np.uint8)
    for face, opening in zip(faces, openings, strict=True):
        height = round(24 * opening)
        face[74 - height // 2 : 74 + height // 2, 30:66] = 160 - depth
    return faces


def blurred(faces: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in faces])


TRUE = talking(SPEECH)
STILL = TRUE[:1].repeat(len(TRUE), axis=0)
MEAN = TRUE.mean(axis=0)
TIMID = (MEAN + (TRUE - MEAN) / 2).round().astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, TRUE.shape, np.uint8)
ANY = (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("generated", "follows", "motion", "contrast"),
    [
        (TRUE, (0.99, 1.01), (0.99, 1.01), (0.99, 1.01)),
        (talking(1 - SPEECH), (-1.0, -0.5), ANY, ANY),  # opens when the true one closes
        (talking(np.roll(SPEECH, 3)), (-0.3, 0.3), ANY, ANY),  # a quarter of a period late
        (TIMID, (0.99, 1.0), (0.48, 0.52), ANY),
        (STILL, (0.0, 0.0), (0.0, 0.0), ANY),
        (NOISE, (-0.05, 0.05), (2.0, np.inf), ANY),
        (talking(SPEECH, depth=50), ANY, ANY, (0.49, 0.51)),  # pale
        (blurred(TRUE, 6), ANY, ANY, (0.0, 0.9)),
    ],
)
def test_a_mouth_that_talks_is_told_from_one_that_does_not(generated, follows, motion, contrast):
    scores = articulation(generated, TRUE)
    for name, (low, high) in {"follows": follows, "motion": motion, "contrast": contrast}.items():
        assert low <= scores[name] <= high + 1e-6, (name, scores[name])


def test_a_mouth_that_changes_with_the_shot_alone_neither_follows_nor_moves():
    shots = np.arange(len(SPEECH)) // 20  # 20, 20 and 10 frames
    true = (TRUE * (1 - 0.3 * shots[:, None, None, None])).astype(np.uint8)
    frozen = true[20 * shots]
    assert articulation(frozen, true)["follows"] > 0.6
    assert articulation(frozen, true, shots)["follows"] == articulation(frozen, true, shots)["motion"] == 0
    assert articulation(true, true, shots) == pytest.approx({"follows": 1, "motion": 1, "contrast": 1})


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Six frames of a real face, moved by a pixel from frame to frame: uint8 BGR [6, 192, 192, 3]."""
    face = cv2.resize(skimage.data.astronaut()[60:200, 160:290, ::-1], (SIZE + 8, SIZE + 8))
    return np.stack([face[:SIZE, n : n + SIZE] for n in range(6)])


def test_equal_mouths_have_the_best_detail_and_blur_lowers_all_of_it(faces):
    best = {"mouth_psnr": 100, "mouth_ssim": 1, "gradient_distance": 0, "sharpness_ratio": 1, "flicker_ratio": 1}
    each = [detail_scores(faces, faces), *(detail_scores(blurred(faces, sigma), faces) for sigma in (1, 2, 4))]
    assert each[0] == pytest.approx(best, abs=1e-6)
    for name, sign in (("mouth_psnr", 1), ("mouth_ssim", 1), ("gradient_distance", -1), ("sharpness_ratio", 1)):
        values = [sign * scores[name] for scores in each]
        assert values == sorted(values, reverse=True), name
    other = faces.copy()
    other[:, : SIZE // 2 - 8] = 0  # outside of the mouth's area
    assert detail_scores(other, faces)["mouth_psnr"] == pytest.approx(100)


def test_likeness_falls_with_the_difference():
    true = np.random.default_rng(0).integers(0, 200, (20, 30, 3)).astype(np.uint8)
    near, far = (likeness(true + np.uint8(levels), true) for levels in (5, 50))
    assert near[:2] == pytest.approx((5 / 255, 20 * np.log10(255 / 5)), abs=1e-3)
    assert near[1] > far[1]
    assert near[2] > far[2]


def smeared(image: np.ndarray, sigma: float) -> np.ndarray:
    """The mouth blurred, as much as its area's weight says."""
    rect = pad_and_clip(BOX, NO_PADS, *image.shape[:2])
    face, result = crop(image, rect), image.copy()
    weight = cv2.resize(mouth_area(256), (rect.width, rect.height))[..., None]
    soft = face * (1 - weight) + cv2.GaussianBlur(face, (0, 0), sigma) * weight
    result[rect.y1 : rect.y2, rect.x1 : rect.x2] = soft.round()
    return result


def test_a_visible_smear_passes_psnr_and_ssim_but_neither_sharpness_nor_gradient_distance():
    frames = [frame.image for frame in VideoReader(showcase.PEOPLE[0].face).frames()][::12]

    def scores(change) -> dict:
        return mean_likeness([frame_likeness(change(frame), frame, BOX) for frame in frames])

    true = scores(lambda frame: cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1))
    smear = scores(lambda frame: smeared(frame, 2.5))
    assert smear["psnr"] > 33
    assert smear["ssim"] > 0.93
    assert smear["sharpness_ratio"] < SMEARED < SHARP[0] < true["sharpness_ratio"] < SHARP[1]
    assert smear["gradient_distance"] > 5 * true["gradient_distance"]
