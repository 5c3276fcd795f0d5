"""Scores of sync and of mouths beside the true ones: what they tell apart, and what is said of them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from demo import showcase
from face_detection.crop import NO_PADS, crop, pad_and_clip
from media.reader import VideoReader
from metrics import glossary, score_report, sync
from metrics.published_syncnet import load_scorer
from metrics.score_report import SHARP, SMEARED
from metrics.similarity import articulation, mouth_area
from metrics.sync import MAX_SHIFT, SyncResult, WindowStream, score_distances, window_distances
from metrics.videos import VideoScore, frame_likeness, mean_likeness
from reports import page

SCORER = SimpleNamespace(name="SyncNet_color expert.pth", missing=np.nan, good_confidence=0.5)


def result_of(*known: bool, late: int = 0) -> SyncResult:
    """Of a video whose pictures, second by second, have to do with its sound or not."""
    rng = torch.Generator().manual_seed(0)
    sound, noise = torch.nn.functional.normalize(torch.randn(2, len(known) * 25, 64, generator=rng), dim=2)
    own = torch.repeat_interleave(torch.tensor(known), 25)[:, None]
    stream = WindowStream(SCORER)
    stream.embeddings = [torch.where(own, sound.roll(-late, 0), noise).numpy()]
    stream.times = [np.arange(len(known) * 25)]
    return stream.result(sound.numpy())


def everything_said(result: SyncResult) -> list[str]:
    """In a table, a line and a page."""
    scores = [VideoScore("talk.mp4", "talk.mp4", 250, 250, [result], None)]
    page_text = page.render("scores", score_report.video_parts(scores))
    return [score_report.format_scores(scores), glossary.format_sync(result), page_text]


def test_outside_the_sound_the_scorers_own_missing_value_counts():
    faces, sound = np.eye(4, dtype=np.float32)[:2] * 3, np.eye(4, dtype=np.float32)
    zeros = window_distances(faces, np.array([0, 1]), sound, missing=0.0)
    assert zeros[0, MAX_SHIFT - 1] == 3.0  # the length of the face's own embedding
    assert np.isnan(window_distances(faces, np.array([0, 1]), sound)[0, MAX_SHIFT - 1])
    assert zeros[0, MAX_SHIFT] == zeros[1, MAX_SHIFT] == 2.0


def test_the_z_score_counts_standard_errors_of_windows_that_do_not_overlap_and_few_are_not_significant():
    rng = np.random.default_rng(0)
    distances = np.ones((500, 31), np.float32)
    distances[:, 20] -= (0.2 + rng.normal(0, 0.1, 500)).astype(np.float32)
    score = score_distances(distances)
    assert score.offset == 20 - MAX_SHIFT
    assert score.evidence == pytest.approx(0.2 / (0.1 / (500 / 5) ** 0.5), rel=0.1)
    alike = np.ones((sync.MIN_SIGNIFICANT_WINDOWS, 31), np.float32)
    alike[:, 15] = 0.2
    assert score_distances(alike).measurable
    assert not score_distances(alike[1:]).measurable


def test_windows_are_the_same_in_blocks_of_any_size_and_span_neither_gap_nor_cut(expert, monkeypatch):
    monkeypatch.setattr(sync, "FACES_IN_MEMORY", 8)
    faces = np.random.default_rng(0).integers(0, 256, (30, 96, 96, 3), np.uint8)
    scorer = load_scorer(expert, torch.device("cpu"))
    stream = WindowStream(scorer)
    for number, face in enumerate(faces):
        stream.add(number, None if number == 4 else face, new_shot=number == 15)
    stream.flush()
    starts = np.array([*range(5, 11), *range(15, 26)])
    assert np.concatenate(stream.times).tolist() == starts.tolist()
    np.testing.assert_allclose(np.concatenate(stream.embeddings), scorer.embed_faces(faces, starts), atol=0.02)


def test_an_offset_is_given_where_it_can_be_measured_by_the_second_and_nowhere_else():
    seconds = result_of(*[True] * 5, *[False] * 5).seconds
    assert [second.second for second in seconds] == list(range(10))
    assert [(second.measurable, second.offset) for second in seconds[:4]] == [(True, 0)] * 4
    assert [second.measurable for second in seconds[6:]] == [False] * 4

    late = result_of(*[True] * 10, late=5)
    table, line, text = everything_said(late)
    assert late.kind == "bad"
    assert all("+5" in said for said in (table, line, text))
    assert "0.5" in line  # what real footage has
    unknown = result_of(*[False] * 10)
    assert unknown.kind == "unknown"
    said = everything_said(unknown)
    assert all(glossary.NOT_MEASURABLE in words for words in said)
    assert not any(f"{unknown.offset:+d}" in words for words in said[:2])


@pytest.mark.parametrize(
    ("offset", "confidence", "measurable", "kind"),
    [(0, 0.6, True, "good"), (-1, 0.5, True, "good"), (0, 0.45, True, "unknown"), (2, 0.6, True, "remark"),
     (-3, 0.6, True, "bad"), (-3, 0.3, True, "unknown"), (0, 0.6, False, "unknown")],
)  # fmt: skip
def test_a_score_is_in_sync_nearly_or_not_where_it_can_be_measured(offset, confidence, measurable, kind):
    numbers = {"measurable": measurable, "offset": offset, "lse_d": 0.5, "evidence": 9.0}
    numbers["lse_c"] = confidence
    second = sync.SecondResult(second=0, **numbers)
    whole = {"scorer": "a", "good_confidence": 0.5, "windows": 99, "curve": []}
    result = SyncResult(seconds=[second], **whole, **numbers)
    assert result.kind == result.kind_of(second) == kind
    assert result.kind_of(None) == "unknown"
    if kind == "good":
        seconds = [sync.SecondResult(second=n, **(numbers | {"measurable": n < 2})) for n in range(5)]
        assert SyncResult(seconds=seconds, **whole, **numbers).kind == "unknown"


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
