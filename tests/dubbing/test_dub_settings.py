"""What --pads, --nosmooth, --face_index and --align do to the pixels of a dub."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import inference
from dubbing import Dubber, Options
from dubbing.networks import Networks, load_networks
from face_detection import RetinaFace
from media import codecs, yuv
from media.reader import VideoReader
from media.writer import VideoWriter
from models import Wav2Lip
from portrait import portrait
from utils.options import from_args

PORTRAIT = portrait()[:300, :400]
BOX = (178, 57, 273, 177)  # x1 y1 x2 y2, the face in the portrait
MIDDLE = (226.0, 117.0)  # of that face
FRAMES = 6


def video(path: Path, pictures: Iterable[np.ndarray]) -> Path:
    """The pictures at 25 frames a second, coded without loss."""
    with VideoWriter(path, Fraction(25), encoding=codecs.choose("ffv1", path.suffix)) as writer:
        for n, picture in enumerate(pictures):
            writer.write(picture, n / 25)
    return path


def shifted(picture: np.ndarray, right: float) -> np.ndarray:
    return moved(picture, np.array([[1, 0, right], [0, 1, 0]], np.float64))


def moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def lumas(path: Path) -> np.ndarray:
    return np.stack([yuv.planes(picture)[0].copy() for _, picture in VideoReader(path).pictures()])


@pytest.fixture(scope="module")
def base(generator) -> list:
    """Flags that all dubs here have in common, so that they can share the networks."""
    common = {"checkpoint_path": generator, "precision": "fp32", "device": "cpu", "codec": "ffv1"}
    return [part for name, value in common.items() for part in (f"--{name}", str(value))]


def options_of(flags: list, face: Path, speech: Path) -> Options:
    given = [*flags, "--face", face, "--audio", speech, "--preview", FRAMES / 25]
    return from_args(Options, inference.parse_args([str(part) for part in given]))


@pytest.fixture(scope="module")
def networks(base, speech) -> Networks:
    return replace(load_networks(options_of(base, speech, speech)), expert=None)  # no score is wanted


@pytest.fixture
def changed(base, networks, speech, tmp_path) -> Callable[..., np.ndarray]:
    """changed(video, *flags) -> which pixels a dub has changed, bool [T, H, W]."""

    def call(face: Path, *flags) -> np.ndarray:
        out = tmp_path / "out.mkv"
        record = Dubber(options_of([*base, *flags], face, speech), networks).dub(face, speech, out)
        assert record.frames == record.dubbed == FRAMES
        return lumas(out) != lumas(face)

    return call


def rows_and_columns(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column with such a pixel in any frame."""
    _, rows, columns = np.nonzero(pixels)
    return rows.min(), rows.max(), columns.min(), columns.max()


def centres(pixels: np.ndarray) -> np.ndarray:
    """The middle x, y of such pixels in every frame: float [T, 2]."""
    return np.stack([np.argwhere(frame)[:, ::-1].mean(axis=0) for frame in pixels])


@pytest.fixture
def face_in_box(monkeypatch) -> None:
    """The detector finds the face in BOX, to a pixel."""
    monkeypatch.setattr(RetinaFace, "detect", lambda _, frames: [np.array([[*BOX, 0.9]], np.float32) for _ in frames])


def test_pads_are_added_to_what_the_network_is_given(changed, face_in_box, tmp_path, monkeypatch):
    given, pads = [], (5, 40, 15, 25)
    real = Wav2Lip.forward
    monkeypatch.setattr(Wav2Lip, "forward", lambda self, mel, faces: given.append(faces) or real(self, mel, faces))
    source = video(tmp_path / "a.mkv", [PORTRAIT] * FRAMES)
    changed(source, "--no_cache", "--pads", *pads)
    (x1, y1, x2, y2), (top, bottom, left, right) = BOX, pads
    image = next(VideoReader(source).frames()).image[y1 - top : y2 + bottom, x1 - left : x2 + right]
    expected = cv2.resize(image, (96, 96)).transpose(2, 0, 1) / 255
    references = torch.cat(given)[:, 3:].numpy()
    assert len(references) == FRAMES
    assert np.abs(references - expected).mean(axis=(1, 2, 3)).max() < 0.5 / 255


@pytest.mark.slow
def test_nosmooth_lets_the_mouth_jump_with_the_face(changed, tmp_path):
    source = video(tmp_path / "a.mkv", [shifted(PORTRAIT, 16 * (n % 2)) for n in range(FRAMES)])
    jumping, smooth = (np.diff(centres(changed(source, *flags))[:, 0]) for flags in (["--nosmooth"], []))
    assert np.abs(jumping) == pytest.approx(16, abs=4)
    assert np.abs(smooth).max() < 6


@pytest.mark.parametrize("index", [0, 1])
def test_face_index_counts_from_the_left_and_nobody_else_is_changed(changed, tmp_path, index):
    wide = np.full((300, 800, 3), 120, np.uint8)
    wide[75:, :300] = cv2.resize(PORTRAIT, (300, 225), interpolation=cv2.INTER_AREA)
    wide[:, 400:] = PORTRAIT
    source = video(tmp_path / "two people.mkv", [wide] * FRAMES)
    first_row, last_row, first_column, last_column = rows_and_columns(changed(source, "--face_index", index))
    x1, y1, x2, y2 = [(134, 118, 205, 208), (578, 57, 673, 177)][index]  # the smaller face is on the left
    assert (y1 + y2) / 2 - 10 < first_row < last_row < y2 + 15
    assert x1 - 5 < first_column < last_column < x2 + 5
    assert last_column - first_column > (x2 - x1) / 2


def test_align_puts_the_mouth_where_the_tilted_head_has_it(changed, tmp_path):
    turn = cv2.getRotationMatrix2D(MIDDLE, 30, 1.0)  # degrees anticlockwise
    upright = centres(changed(video(tmp_path / "a.mkv", [PORTRAIT] * FRAMES)))[0]
    mouth = turn @ [*upright, 1]
    source = video(tmp_path / "b.mkv", [moved(PORTRAIT, turn)] * FRAMES)
    aligned, straight = (centres(changed(source, *arguments)) for arguments in (["--align"], []))
    assert np.linalg.norm(aligned - mouth, axis=1).max() < 9
    assert np.linalg.norm(straight - mouth, axis=1).min() > 15
