"""Mouths from other moments of the dubbed video: which are taken, and how they are put onto the frame."""

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import portrait
from dubbing import Dubber, Options, own_pixels
from dubbing.own_pixels import MouthBank, OwnPixels
from dubbing.paste import FaceRegion, soft_mask
from dubbing.source import TimedFrame
from dubbing.stages import FaceTask
from footage import write_video
from hparams import hparams
from media.reader import VideoReader
from metrics.similarity import mouth_sharpness
from utils.errors import InputError
from utils.images import Rect

DEMO = Path(__file__).parents[2] / "demo"
SIZE = 192
EXPERT = SimpleNamespace(hp=hparams)  # of an expert only its hparams are used here
WORDS = 20  # embeddings that are told apart


def head(shift: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """A crop of the portrait at SIZE pixels, moved to the right and turned."""
    y1, y2, x1, x2 = 57, 177, 178, 273
    crop = cv2.resize(portrait.portrait()[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20], (SIZE, SIZE))
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), turn, 1.0)
    matrix[0, 2] += shift
    return cv2.warpAffine(crop, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)


def bank_of(heads: list[np.ndarray], words: np.ndarray) -> MouthBank:
    small = np.stack([cv2.resize(each, (96, 96)) for each in heads])
    lower = [cv2.imencode(".png", each[int(own_pixels.KEPT * SIZE) :])[1] for each in heads]
    numbers, heights = np.arange(len(heads)), np.full(len(heads), SIZE)
    return MouthBank(numbers, numbers / 25, small, lower, heights, np.eye(WORDS, dtype=np.float32)[words])


def task(number: int, picture: np.ndarray) -> FaceTask:
    small = cv2.resize(picture, (96, 96))
    grey = np.full_like(small, 128)
    place, mel = FaceRegion(Rect(0, 0, SIZE, SIZE)), np.zeros((80, 16), np.float32)
    return FaceTask(TimedFrame(number, number / 25, None), place, small, soft_mask(96), mel, grey)


def rows_chosen(own: OwnPixels, tasks: list[FaceTask]) -> list[int]:
    chosen, path = [], own._path
    own._path = lambda *given: chosen.extend(path(*given)) or chosen
    own(tasks)
    return chosen


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """What a video of 160 frames says: runs of ten frames, each of one word, in no order."""
    return np.repeat(np.random.default_rng(0).permutation(np.arange(16) % WORDS), 10)


def test_mouths_fit_the_speech_in_runs_of_frames_and_never_come_from_the_frame_itself(words):
    bank = bank_of([head()] * 160, words)
    said = np.concatenate([words[100:110], words[30:40]])  # at the frames 96 to 115, where the video says other things
    speech = np.zeros((120, WORDS), np.float32)
    speech[94:114] = np.eye(WORDS)[said]
    tasks = [task(number, head()) for number in range(96, 116)]
    chosen = rows_chosen(OwnPixels(bank, speech, EXPERT), tasks)[:40]
    path = [row for row in chosen if abs(row - 105) > 0.5 * 25 or row < 90]
    assert sum(words[row] == word for row, word in zip(path[-8:], said[-8:], strict=True)) >= 7
    assert all(not 96 - 12 < row < 96 + 12 for row in chosen[:3])


def test_a_mouth_is_put_where_the_head_is(words):
    turned = head(shift=7, turn=4)
    faces = [task(80, turned)]
    own = OwnPixels(bank_of([head()] * 160, words), np.eye(WORDS, dtype=np.float32), EXPERT)
    own(faces)
    assert own.used == 1
    area = np.s_[int(0.62 * SIZE) : int(0.85 * SIZE), SIZE // 4 : -SIZE // 4]  # mouth and chin
    error, unmoved = (np.abs(each.astype(int) - turned)[area].mean() for each in (faces[0].generated, head()))
    assert error < 0.4 * unmoved
    after, before = (cv2.Laplacian(each[area], cv2.CV_64F).var() for each in (faces[0].generated, head()))
    assert 0.8 < after / before < 1.2


def test_a_mouth_that_was_filmed_in_another_light_comes_in_the_light_of_the_frame(words):
    orange = np.clip(head() * (0.6, 0.95, 1.1), 0, 255).astype(np.uint8)
    faces = [task(80, head())]
    OwnPixels(bank_of([orange] * 160, words), np.eye(WORDS, dtype=np.float32), EXPERT)(faces)
    area = np.s_[int(0.62 * SIZE) : int(0.85 * SIZE), SIZE // 4 : -SIZE // 4]
    own, filmed, true = (each[area].mean(axis=(0, 1)) for each in (faces[0].generated, orange, head()))
    assert np.abs(filmed - true).max() > 20
    assert np.abs(own - true).max() < 5


def test_of_mouths_that_fit_alike_those_in_the_light_of_the_frame_are_taken(words):
    orange = np.clip(head() * (0.6, 0.95, 1.1), 0, 255).astype(np.uint8)
    bank = bank_of([head()] * 80 + [orange] * 80, np.concatenate([words[:80], words[:80]]))
    for picture, rows in ((head(), range(80)), (orange, range(80, 160))):
        own = OwnPixels(bank, np.eye(WORDS, dtype=np.float32)[np.repeat(words[:80], 4)], EXPERT)
        assert set(rows_chosen(own, [task(number, picture) for number in range(300, 310)])) <= set(rows)


def test_a_frame_that_no_other_fits_keeps_the_generated_mouth(words):
    noise = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    faces = [task(80, cv2.GaussianBlur(noise, (0, 0), 4) * 3)]
    own = OwnPixels(bank_of([head()] * 160, words), np.eye(WORDS, dtype=np.float32), EXPERT)
    own(faces)
    assert own.used == 0 and (faces[0].generated == 128).all()


@pytest.mark.parametrize("other", [{"paste": "box"}, {"mouths_from": DEMO / "woman.mp4", "box": (1, 2, 1, 2)}])
def test_what_shows_another_mouth_is_refused_beside_it(other):
    with pytest.raises(InputError):
        Options(own_pixels="on", **other)


def test_a_dub_shows_the_persons_own_mouth(tmp_path, monkeypatch):
    monkeypatch.setattr(own_pixels, "FEWEST_FACES", 40)
    sharp = {}
    for wanted in ("auto", "off"):
        options = Options(own_pixels=wanted, end=3.0, preview=1.0, codec="ffv1", no_score=True)
        record = Dubber(options).dub(DEMO / "woman.mp4", DEMO / "man_speech.ogg", tmp_path / f"{wanted}.mkv")
        assert (record.own_pixels is not None) == (wanted == "auto") and record.sync is None
        pictures = np.stack([image for _, image in VideoReader(tmp_path / f"{wanted}.mkv").frames()])
        sharp[wanted] = mouth_sharpness(pictures[:, 60:260, 80:280])
    assert record.frames == 25
    people = tmp_path / "her videos"
    people.mkdir()
    shown = islice(VideoReader(DEMO / "woman.mp4").frames(), 75, 150)
    write_video(people / "wóman 1.mp4", [frame.image for frame in shown])
    shutil.copy(DEMO / "man_speech.ogg", people)
    still = replace(options, own_pixels="auto", static=True, mouths_from=people)
    record = Dubber(still).dub(DEMO / "woman.mp4", DEMO / "man_speech.ogg", tmp_path / "still.mkv")
    assert record.own_pixels["used"] == 25
    assert sharp["auto"] > 1.2 * sharp["off"]


def test_what_a_video_shows_is_kept_for_the_next_dub(tmp_path, monkeypatch):
    monkeypatch.setattr(own_pixels, "FEWEST_FACES", 40)
    frames = []
    for number in range(2):
        options = Options(own_pixels="on", end=3.0, preview=1.0, codec="ffv1", no_score=True)
        Dubber(options).dub(DEMO / "woman.mp4", DEMO / "man_speech.ogg", tmp_path / f"{number}.mkv")
        frames.append(np.stack([image for _, image in VideoReader(tmp_path / f"{number}.mkv").frames()]))
        monkeypatch.setattr(own_pixels, "_collect", None)  # what is called now fails
        monkeypatch.setattr(own_pixels, "_draw", None)
    assert (frames[0] == frames[1]).all()
