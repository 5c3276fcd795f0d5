"""One reader and one writer for every kind of file."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from footage import click_track, encode, number_of, numbered
from media.reader import VideoReader
from media.sound import read_audio
from media.writer import VideoWriter
from utils.errors import InputError

RATE = 16_000


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("h264.mp4", "libx264", "yuv420p", (160, 120)),
        ("hevc 10 bit.mkv", "libx265", "yuv420p10le", (160, 120)),
        ("vp9.webm", "libvpx-vp9", "yuv420p", (160, 120)),
        ("odd.mov", "libx264", "yuv444p", (161, 121)),
    ],
)
def test_frames_come_in_order_with_their_times(tmp_path, name, codec, pix_fmt, size):
    reader = VideoReader(encode(tmp_path / name, codec, pix_fmt=pix_fmt, size=size))
    frames = list(reader.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert np.allclose(np.diff([frame.time for frame in frames]), 0.04, atol=1e-3)
    assert frames[0].image.shape == (size[1], size[0], 3) == (reader.height, reader.width, 3)
    assert not reader.has_sound


def first_click(wav: np.ndarray) -> float:
    return float(np.argmax(np.abs(wav) > 0.3)) / RATE


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg1video")])
def test_sound_of_any_container_keeps_its_place_against_the_picture(tmp_path, name, codec):
    path = encode(tmp_path / name, codec, frames=50, sound=click_track(2.0, 0.7))
    reader = VideoReader(path)
    assert reader.has_sound
    assert first_click(read_audio(path, RATE, reader.start)) == pytest.approx(0.7, abs=0.03)


def write(path, times, sound=None, size=(160, 120)):
    with VideoWriter(path, Fraction(25), sound) as writer:
        for n, time in enumerate(times):
            writer.write(numbered(n, *size), time)
    return path


def test_written_video_keeps_time_stamps_colours_and_sound(tmp_path):
    times = [0.0, 0.033, 0.1, 0.14, 0.3, 0.301, 0.5]
    soundfile.write(tmp_path / "click.wav", np.stack([click_track(3.0, 1.3)] * 2, axis=1), 44100)
    path = write(tmp_path / "dub é 'x'.mp4", times, tmp_path / "click.wav")
    frames = list(VideoReader(path).frames())
    assert np.allclose([frame.time for frame in frames], times, atol=1e-3)
    for n, frame in enumerate(frames):
        difference = frame.image[30:-4, 4:-4].astype(float) - numbered(n)[30:-4, 4:-4]
        assert np.abs(np.median(difference, axis=(0, 1))).max() <= 2
    sound = read_audio(path, RATE)
    assert len(sound) / RATE == pytest.approx(3.0, abs=0.03)
    assert first_click(sound) == pytest.approx(1.3, abs=0.002)


def test_odd_sizes_and_frames_closer_than_the_time_base_are_written_in_order(tmp_path):
    times = [0.0, 1e-6, 2e-6, 0.04, 0.04, 0.08]
    frames = list(VideoReader(write(tmp_path / "odd.mp4", times, size=(161, 121))).frames())
    assert {frame.image.shape for frame in frames} == {(122, 162, 3)}
    assert np.allclose([frame.time for frame in frames], times, atol=1e-3)
    assert (np.diff([frame.time for frame in frames]) > 0).all()


def test_unreadable_files_are_named_with_the_reason(tmp_path, talking):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is a text, not a video\n" * 100)
    whole = talking.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "headless.mp4").write_bytes(whole[:200])
    soundfile.write(tmp_path / "sound.wav", click_track(1.0, 0.5), 44100)
    cases = {
        "missing.mp4": "no such file",
        "empty.mp4": "is empty",
        "text.mp4": "not a readable video",
        "headless.mp4": "truncated",
        "cut.mp4": "truncated",
        "sound.wav": "has no pictures",
        ".": "is a folder",
    }
    for name, said in cases.items():
        with pytest.raises(InputError, match=said) as error:
            list(VideoReader(tmp_path / name).frames())
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(InputError, match="has no sound"):
        read_audio(encode(tmp_path / "mute.mp4", "libx264"), RATE)
