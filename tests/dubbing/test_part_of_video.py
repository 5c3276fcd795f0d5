"""A part of a video, its remembered faces, --final_audio, --pads, --nosmooth, --face_index, --align."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch

from dubbing import Dubber, Options
from dubbing.networks import Networks, load_networks
from dubbing.source import Source
from face_detection import RetinaFace
from footage import BOX, encode, number_of, numbered, planes_of, record_of, write_video
from media import codecs, yuv
from media.reader import VideoReader
from media.sound import read_audio
from models import Wav2Lip
from portrait import portrait
from utils.errors import InputError
from utils.files import CACHE_FOLDER

RATE = 16_000


def shown(path, start: float, end: float | None, seconds: float, fps="source", extend="loop", **options):
    """Numbers and times of the frames that are shown."""
    source = Source(path, Options(fps=fps, start=start, end=end, **options))
    frames = list(source.extend_frames(seconds, extend))
    return [number_of(yuv.to_bgr(frame.picture)) for frame in frames], [frame.time for frame in frames]


@pytest.fixture
def film(tmp_path):
    return encode(tmp_path / "a film.mp4", "libx264", frames=38)


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        (0.0, 0.8, range(20)),
        (0.41, 0.79, range(10, 20)),  # the frame that is shown then, up to the one that is shown last
        (1.5, None, range(37, 38)),
        (0.4, 1.9, range(10, 38)),  # a little beyond the end
    ],
)
def test_a_part_holds_the_frames_that_are_shown_in_it_and_begins_at_0(film, start, end, numbers):
    found, times = shown(film, start, end, len(numbers) / 25)
    assert found == list(numbers)
    assert times == pytest.approx([n / 25 for n in range(len(numbers))], abs=1e-4)


def test_speech_that_outlasts_a_video_or_a_part_plays_it_again(film, tmp_path):
    assert shown(film, 0.4, 0.8, 0.6)[0] == [*range(10, 20), *range(10, 15)]
    assert shown(film, 0.4, 0.8, 0.8, extend="pingpong")[0] == [*range(10, 20), *range(18, 10, -1), 10, 11]
    assert shown(film, 0.4, 0.8, 0.5, extend="hold")[0] == [*range(10, 20), 19, 19, 19]
    numbers, times = shown(film, 0.4, None, 1.2)
    assert numbers == [*range(10, 38), 10, 11]
    assert np.allclose(np.diff(times), 0.04, atol=1e-4)
    assert shown(film, 0.4, 0.8, 0.2, keep_length=True)[0] == list(range(10, 20))
    without_times = encode(tmp_path / "a.h264", "libx264", frames=10)
    assert shown(without_times, 0.0, None, 0.8, extend="pingpong")[0] == [*range(10), *range(8, 0, -1), 0, 1]


def test_a_frame_that_stays_for_long_is_shown_from_the_start_to_the_end_asked_for(tmp_path):
    slides = write_video(tmp_path / "slides.mp4", [numbered(n) for n in range(4)], fps=1)
    numbers, times = shown(slides, 1.5, 2.25, 1.0, fps="8")
    assert numbers == [1, 1, 1, 1, 2, 2, 1, 1]  # 0.5 s of the one, 0.25 s of the next, and again
    assert times == pytest.approx([n / 8 for n in range(8)])


def test_what_is_out_of_range_is_refused_with_the_length_of_the_video(film, tmp_path):
    with pytest.raises(InputError, match=r"--start 1\.52: .*a film\.mp4 lasts 1\.52 s"):
        Source(film, Options(start=1.52))
    with pytest.raises(InputError, match=r"--end 2\.1: .*1\.52"):
        Source(film, Options(end=2.1))
    with pytest.raises(InputError, match="--end 1: "):
        Options(start=2, end=1)
    picture = tmp_path / "p.png"
    picture.write_bytes(yuv.cv2.imencode(".png", numbered(0))[1].tobytes())
    with pytest.raises(InputError, match=r"--start, --end: are for videos; .*p\.png is a picture"):
        Source(picture, Options(start=1.0))


def test_a_part_is_dubbed_and_with_the_remembered_faces_to_the_bit_the_same(dub, talking, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "faces"))
    part = ["--start", 0.4, "--end", 0.8, "--preview", 0.6, "--no_score", "--codec", "ffv1", "--outfile"]
    first, again = tmp_path / "first.mkv", tmp_path / "again.mkv"
    assert dub(*part, first).code == 0
    assert "as found before" in dub(*part, again).out
    record = record_of(again)
    assert record["part"] == pytest.approx([0.4, 0.8])
    assert (record["frames"], record["faces"]["cached"]) == (15, True)
    originals = planes_of(talking)
    for n, (one, other) in enumerate(zip(planes_of(first), planes_of(again), strict=True)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert np.array_equal(one[0][:110], originals[10 + n % 10][0][:110])


def test_the_final_audio_is_heard_and_the_speech_moves_the_lips(dub, tmp_path):
    mix = np.sin(np.arange(2 * RATE) / 20).astype(np.float32) * 0.3
    soundfile.write(tmp_path / "the mix.wav", mix, RATE)
    flags = [*BOX, "--preview", 0.4, "--no_score", "--codec", "ffv1", "--outfile"]
    assert dub(*flags, tmp_path / "one.mkv").code == 0
    result = dub(*flags, tmp_path / "two.mkv", "--final_audio", tmp_path / "the mix.wav")
    assert "final audio 1.6 s longer, cut" in result.out
    one, two = (planes_of(tmp_path / name) for name in ("one.mkv", "two.mkv"))
    assert len(one) == len(two) == 10
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, two, strict=True))
    heard = read_audio(tmp_path / "two.mkv", RATE)
    assert len(heard) == pytest.approx(0.4 * RATE, abs=1024)  # cut between packets
    assert np.abs(heard - mix[: len(heard)]).max() < 1e-3
    assert record_of(tmp_path / "two.mkv")["settings"]["final_audio"] == str(tmp_path / "the mix.wav")


def test_what_a_play_of_the_video_took_is_given_back_before_the_next(tmp_path):
    source = Source(encode(tmp_path / "short.mp4", "libx264", size=(160, 120)), Options(fps="source"))
    gc.collect()
    gc.disable()  # as where Python sees no reason to collect
    try:
        count = sum(1 for _ in source.extend_frames(4.0, "pingpong"))
        held = [thing for thing in gc.get_objects() if type(thing) is av.VideoFrame]
    finally:
        gc.enable()
    assert count == 100
    assert len(held) <= 4


PORTRAIT = portrait()[:300, :400]
FACE_BOX = (178, 57, 273, 177)  # x1 y1 x2 y2, the face in the portrait
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
    found = np.array([[*FACE_BOX, 0.9]], np.float32)
    monkeypatch.setattr(RetinaFace, "detect", lambda _, frames: [found] * len(frames))
    monkeypatch.setattr(Wav2Lip, "forward", lambda self, mel, faces: given.append(faces) or real(self, mel, faces))
    source = video(tmp_path / "a.mkv", [PORTRAIT] * FRAMES)
    changed(source, no_cache=True, pads=pads)
    (x1, y1, x2, y2), (top, bottom, left, right) = FACE_BOX, pads
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
