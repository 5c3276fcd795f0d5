"""What --pads, --nosmooth, --face_index and --align do to the pixels of a dub."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dubbing import Dubber, Options
from dubbing.networks import Networks, load_networks
from face_detection import RetinaFace
from footage import planes_of, write_video
from media import codecs
from media.reader import VideoReader
from models import Wav2Lip
from portrait import portrait

PORTRAIT = portrait()[:300, :400]
BOX = (178, 57, 273, 177)  # x1 y1 x2 y2, the face in the portrait
MIDDLE = (226.0, 117.0)  # of that face
FRAMES = 6


def video(path: Path, pictures: list[np.ndarray]) -> Path:
    """The pictures coded without loss."""
    return write_video(path, pictures, encoding=codecs.choose("ffv1", path.suffix))


def moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def options(generator) -> Options:
    """What all dubs here have in common, so that they can share the networks."""
    return Options(checkpoint_path=generator, precision="fp32", codec="ffv1", preview=FRAMES / 25, no_score=True)


@pytest.fixture(scope="module")
def networks(options) -> Networks:
    return load_networks(options)


@pytest.fixture
def changed(options, networks, speech, tmp_path) -> Callable[..., np.ndarray]:
    """changed(video, **settings) -> which pixels a dub has changed, bool [T, H, W]."""

    def call(face: Path, **settings) -> np.ndarray:
        out = tmp_path / "out.mkv"
        record = Dubber(replace(options, **settings), networks).dub(face, speech, out)
        assert record.frames == record.dubbed == FRAMES
        return np.stack([new[0] != old[0] for new, old in zip(planes_of(out), planes_of(face), strict=True)])

    return call


def centres(pixels: np.ndarray) -> np.ndarray:
    """The middle x, y of such pixels in every frame: float [T, 2]."""
    return np.stack([np.argwhere(frame)[:, ::-1].mean(axis=0) for frame in pixels])


def test_pads_are_added_to_what_the_network_is_given(changed, tmp_path, monkeypatch):
    given, pads, real = [], (5, 40, 15, 25), Wav2Lip.forward
    monkeypatch.setattr(RetinaFace, "detect", lambda _, frames: [np.array([[*BOX, 0.9]], np.float32) for _ in frames])
    monkeypatch.setattr(Wav2Lip, "forward", lambda self, mel, faces: given.append(faces) or real(self, mel, faces))
    source = video(tmp_path / "a.mkv", [PORTRAIT] * FRAMES)
    changed(source, no_cache=True, pads=pads)
    (x1, y1, x2, y2), (top, bottom, left, right) = BOX, pads
    image = next(VideoReader(source).frames()).image[y1 - top : y2 + bottom, x1 - left : x2 + right]
    expected = cv2.resize(image, (96, 96)).transpose(2, 0, 1) / 255
    references = torch.cat(given)[:, 3:].numpy()
    assert len(references) == FRAMES
    assert np.abs(references - expected).mean(axis=(1, 2, 3)).max() < 0.5 / 255


@pytest.mark.slow
def test_nosmooth_lets_the_mouth_jump_with_the_face(changed, tmp_path):
    source = video(tmp_path / "a.mkv", [np.roll(PORTRAIT, 16 * (n % 2), axis=1) for n in range(FRAMES)])
    jumping, smooth = (np.diff(centres(changed(source, nosmooth=how))[:, 0]) for how in (True, False))
    assert np.abs(jumping) == pytest.approx(16, abs=4)
    assert np.abs(smooth).max() < 6


def test_face_index_counts_from_the_left_and_nobody_else_is_changed(changed, tmp_path):
    wide = np.full((300, 800, 3), 120, np.uint8)
    wide[75:, :300] = cv2.resize(PORTRAIT, (300, 225), interpolation=cv2.INTER_AREA)
    wide[:, 400:] = PORTRAIT
    source = video(tmp_path / "two people.mkv", [wide] * FRAMES)
    _, rows, columns = np.nonzero(changed(source, face_index=0))
    x1, y1, x2, y2 = 134, 118, 205, 208  # the smaller face
    assert (y1 + y2) / 2 - 10 < rows.min() < rows.max() < y2 + 15
    assert x1 - 5 < columns.min() < columns.max() < x2 + 5
    assert np.ptp(columns) > (x2 - x1) / 2


def test_align_puts_the_mouth_where_the_tilted_head_has_it(changed, tmp_path):
    turn = cv2.getRotationMatrix2D(MIDDLE, 30, 1.0)  # degrees anticlockwise
    upright = centres(changed(video(tmp_path / "a.mkv", [PORTRAIT] * FRAMES)))[0]
    mouth = turn @ [*upright, 1]
    source = video(tmp_path / "b.mkv", [moved(PORTRAIT, turn)] * FRAMES)
    aligned, straight = (centres(changed(source, align=how)) for how in (True, False))
    assert np.linalg.norm(aligned - mouth, axis=1).max() < 9
    assert np.linalg.norm(straight - mouth, axis=1).min() > 15
