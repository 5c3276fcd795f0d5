"""The way of a face through the stages: as sharp and as grainy as the footage, one mask for all, few passes."""

import cv2
import numpy as np
import pytest
from test_dubbing import planes_of, record_of

from dubbing import faces as dub_faces
from dubbing.paste import FaceRegion, noise, paste_face, soft_mask, upright_crop
from dubbing.source import TimedFrame
from dubbing.stages import FrameSampler, bank_of_video, refined_share
from face_detection.crop import resized
from media import yuv
from metrics.similarity import mouth_sharpness
from models import Wav2Lip
from utils.images import Rect

SIZES = [(110, 90), (192, 150), (384, 300)]  # height and width of faces in pixels


def textured(height: int, width: int, finest: float = 0.8, seed: int = 0) -> np.ndarray:
    """Detail of all sizes, as skin and teeth have, down to what a lens still shows: uint8 BGR."""
    rng = np.random.default_rng(seed)
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


@pytest.mark.parametrize("size", [192, 512])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_perfect_refiner_leaves_the_picture_as_sharp_as_it_was(height, width, size):
    picture, region = framed(textured(height, width))
    true = upright_crop(picture, region)
    paste_face(picture, region, resized(true, size, size), soft_mask(96), "soft", refined=1.0)
    pasted = upright_crop(picture, region)
    assert 0.95 < at(pasted, size) / at(true, size) < 1.05


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tilt", [0.0, 20.0])
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


def test_grain_follows_from_the_frame_and_grainy_mouths_get_none():
    def pasted(face: np.ndarray, number: int) -> np.ndarray:
        picture, region = framed(np.clip(120 + grain, 0, 255).astype(np.uint8))
        paste_face(picture, region, face, soft_mask(96), "soft", refined=1.0, number=number)
        return upright_crop(picture, region)

    grain = np.random.default_rng(0).normal(0, 5, (192, 192, 1)).repeat(3, axis=2)
    clean, grainy = (np.clip(np.rint(120 + part), 0, 255).astype(np.uint8) for part in (0 * grain, 2 * grain))
    assert np.array_equal(pasted(clean, 3), pasted(clean, 3))
    assert not np.array_equal(pasted(clean, 3), pasted(clean, 4))
    assert np.array_equal(pasted(grainy, 3), pasted(grainy, 4))


def test_faces_near_the_size_of_the_network_do_not_flicker_between_refined_and_not():
    shares = [refined_share(height, 96) for height in range(80, 160)]
    assert shares[16] == 0 and shares[-1] == 1
    assert max(np.diff(shares)) < 0.04


def test_references_are_the_close_ups_where_a_video_has_both():
    close = [textured(735, 600, seed=n) for n in range(12)]
    small = [resized(picture, 86, 105) for picture in close]
    bank = bank_of_video([picture for pair in zip(small, close, strict=True) for picture in pair], 192, 10)
    expected = {resized(picture, 192, 192).tobytes() for picture in close}
    assert len(bank) == 10
    assert {picture.tobytes() for picture in bank.pictures} <= expected


@pytest.mark.parametrize("count", [1, 101, 1000])
def test_never_more_frames_are_kept_than_asked_for_and_they_are_even(count):
    sampler = FrameSampler(1)
    for number in range(count):
        sampler.add(TimedFrame(number, number / 25, None))
    numbers = [frame.number for frame in sampler.frames]
    assert min(count, sampler.most // 2) <= len(numbers) <= sampler.most
    assert len(set(np.diff(numbers))) <= 1
    assert FrameSampler(50_000_000).most == 24


@pytest.mark.slow
def test_what_is_not_shown_is_not_generated_not_scored_and_not_called_dubbed(dub, talking, tmp_path, monkeypatch):
    monkeypatch.setattr(dub_faces, "opacities", lambda detections, *_: np.zeros(len(detections)))
    monkeypatch.setattr(Wav2Lip, "forward", None)
    assert dub("--occlusion", "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    record = record_of(tmp_path / "out.mkv")
    assert (record["dubbed"], record["unchanged"], record["turned"], record["sync"]) == (0, 25, 25, None)
    for ours, theirs in zip(planes_of(tmp_path / "out.mkv"), planes_of(talking), strict=False):
        assert all(np.array_equal(new, old) for new, old in zip(ours, theirs, strict=True))
