"""--start and --end use a part of a video as if there were no more, its faces are remembered; --final_audio."""

import gc

import av
import numpy as np
import pytest
import soundfile

from dubbing.options import Options
from dubbing.source import Source
from footage import BOX, encode, number_of, numbered, planes_of, record_of, write_video
from media import yuv
from media.sound import read_audio
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
