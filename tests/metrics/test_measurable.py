"""What scores say only where they can, and what a smeared mouth cannot pass."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from conftest import NARROW
from data.loading import open_clips
from demo import showcase
from face_detection.crop import NO_PADS, crop, pad_and_clip
from media.reader import VideoReader
from metrics import generator_score, plots, report, terms
from metrics.detail import mouth_weight
from metrics.streaming import WindowStream
from metrics.sync_offset import FEWEST_MEASURABLE, score_distances
from metrics.video_score import frame_likeness, likeness_summary
from models import Wav2Lip
from reports import page
from utils.devices import Precision

BOX = np.array([124.0, 66.0, 245.0, 252.0])  # of the face in demo/man.mp4
SCORER = "SyncNet_color expert.pth"


def stream_result(*known: bool, late: int = 0) -> dict:
    """Of a video whose pictures, second by second, have to do with its sound or not."""
    rng = torch.Generator().manual_seed(0)
    sound = torch.nn.functional.normalize(torch.randn(len(known) * 25, 64, generator=rng))
    noise = torch.nn.functional.normalize(torch.randn(len(known) * 25, 64, generator=rng))
    own = torch.repeat_interleave(torch.tensor(known), 25)[:, None]
    stream = WindowStream(SimpleNamespace(name=SCORER, missing=np.nan))
    stream.embeddings = [torch.where(own, sound.roll(-late, 0), noise).numpy()]
    stream.times = [np.arange(len(known) * 25)]
    return stream.result(sound.numpy())


def video_result(**sync) -> dict:
    return {"video": "talk.mp4", "sound": "talk.mp4", "frames": 250, "faces": 250, "sync": [sync]}


def test_each_second_says_whether_it_can_be_measured_by_those_around_it():
    seconds = stream_result(*[True] * 5, *[False] * 5)["seconds"]
    assert [second["second"] for second in seconds] == list(range(10))
    assert [second["measurable"] for second in seconds[:4]] == [True] * 4
    assert [second["measurable"] for second in seconds[6:]] == [False] * 4
    assert [second["offset"] for second in seconds[:4]] == [0] * 4


def test_few_windows_measure_nothing_however_alike_they_are():
    distances = np.ones((FEWEST_MEASURABLE, 31), np.float32)
    distances[:, 15] = 0.2
    assert score_distances(distances).measurable
    assert not score_distances(distances[1:]).measurable


def test_an_offset_that_cannot_be_measured_is_printed_nowhere():
    result = video_result(**stream_result(*[False] * 10))
    result["sync"][0]["offset"] = 13
    text = report.video_text([result])
    assert "not measurable" in text
    assert terms.WHY_NOT in text
    said = [text, terms.sync_in_words(result["sync"][0]), page.render("scores", report.video_parts([result]))]
    assert not any("+13" in words for words in said)
    assert "not measurable with this expert" in said[1]


def test_an_offset_that_can_be_measured_is_printed_with_what_real_footage_has():
    sync = stream_result(*[True] * 10, late=5)
    assert sync["measurable"]
    assert terms.sync_kind(sync, SCORER) == "bad"
    assert "offset +5 frames" in terms.sync_in_words(sync)
    assert "real footage: 0.5 and more" in terms.sync_in_words(sync)
    text = report.video_text([video_result(**sync)])
    assert "+5" in text
    assert terms.WHY_NOT not in text


@pytest.mark.parametrize(
    ("offset", "confidence", "measurable", "kind"),
    [(0, 0.6, True, "good"), (-1, 0.5, True, "good"), (0, 0.45, True, "unknown"), (2, 0.6, True, "remark"),
     (-3, 0.6, True, "bad"), (-3, 0.3, True, "unknown"), (0, 0.6, False, "unknown")],
)  # fmt: skip
def test_a_score_is_in_sync_nearly_or_not_where_it_can_be_measured(offset, confidence, measurable, kind):
    score = {"offset": offset, "lse_c": confidence, "measurable": measurable}
    assert terms.sync_kind(score, SCORER) == kind
    assert terms.sync_kind(score | {"lse_c": 12 * confidence}, "published SyncNet syncnet_v2.model") == kind
    if kind == "good":
        mostly_not = score | {"scorer": SCORER, "seconds": [{"measurable": n < 2} for n in range(5)]}
        assert terms.sync_kind(mostly_not, SCORER) == "unknown"
        assert "in time" not in terms.sync_in_words(mostly_not)
    assert terms.sync_kind(None, SCORER) == "unknown"


def test_the_plot_of_seconds_has_a_bar_for_each_in_the_colour_of_what_it_says():
    figure = plots.by_second(stream_result(*[True] * 3, *[False] * 3))
    (axes,) = figure.axes
    assert len(axes.patches) == 6
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] != colours[-1]


def smeared(image: np.ndarray, sigma: float) -> np.ndarray:
    """The mouth blurred, as much as its area's weight says."""
    rect = pad_and_clip(BOX, NO_PADS, *image.shape[:2])
    face, result = crop(image, rect), image.copy()
    weight = cv2.resize(mouth_weight(256), (rect.width, rect.height))[..., None]
    blurred = face * (1 - weight) + cv2.GaussianBlur(face, (0, 0), sigma) * weight
    result[rect.y1 : rect.y2, rect.x1 : rect.x2] = blurred.round()
    return result


def test_a_visible_smear_passes_psnr_and_ssim_but_neither_sharpness_nor_gradient_distance():
    frames = [frame.image for frame in VideoReader(showcase.PEOPLE[0].face).frames()][::12]

    def scores(change) -> dict:
        return likeness_summary([frame_likeness(change(frame), frame, BOX) for frame in frames])

    true = scores(lambda frame: cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1))
    smear = scores(lambda frame: smeared(frame, 2.5))
    assert smear["psnr"] > 33
    assert smear["ssim"] > 0.93
    assert smear["sharpness_ratio"] < report.SMEARED < report.SHARP[0] < true["sharpness_ratio"] < report.SHARP[1]
    assert smear["gradient_distance"] > 5 * true["gradient_distance"]
    kinds = [report._likeness(some)[3].kind for some in (true, smear)]
    assert kinds == ["good", "bad"]


def test_a_single_clip_has_no_other_whose_speech_it_could_be_dubbed_with(preprocessed):
    clips = open_clips(preprocessed.root, "train", preprocessed.lists, NARROW)[:1]
    dubber = generator_score.ClipDubber(Wav2Lip(NARROW.width).eval(), NARROW, Precision("fp32", torch.device("cpu")))
    dubs = generator_score.compared_dubs(dubber, clips)
    assert not [case for case in dubs if "another" in case or "original" in case]
    assert all(dub.speech is clips[0] for some in dubs.values() for dub in some)
    result = {"clips": 1, "likeness": {}, "l1_to_copying": 1.0, "experts": []}
    assert report.ONE_CLIP in report.generator_text(result)
    assert report.ONE_CLIP not in report.generator_text(result | {"clips": 2})
