"""Times stay what they are: holes in speech, frames that are close together; suffixes in capitals."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from av.video.reformatter import VideoReformatter

from face_detection.find import CutFinder
from media.sound import read_audio
from media.writer import VideoWriter

RATE = 16_000


def sound_with_a_hole(path, codec: str):
    """Clicks at 0.2 s and 1.7 s; nothing is stored from 0.5 s to 1.5 s."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        for start in (0.0, 1.5):
            wav = np.zeros(RATE // 2, np.float32)
            wav[round(0.2 * RATE) : round(0.2 * RATE) + 80] = 0.9
            frame = av.AudioFrame.from_ndarray((wav * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, round(start * RATE), Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def clicks(path) -> list[float]:
    wav = np.abs(read_audio(path, RATE, 0.0))
    loud = np.flatnonzero(wav > 0.3) / RATE
    return [float(loud[0]), float(loud[loud > 1][0])]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "A.WEBM", "a.mkv", "A.MKV"])
def test_a_hole_in_the_speech_stays_one_in_the_result(tmp_path, name):
    source = sound_with_a_hole(tmp_path / "source.mkv", "pcm_s16le")
    assert clicks(source) == pytest.approx([0.2, 1.7], abs=0.002)  # what the mel spectrogram is made of
    with VideoWriter(tmp_path / name, Fraction(25), source) as writer:
        for n in range(50):
            writer.write(np.zeros((64, 64, 3), np.uint8), n / 25)
    assert clicks(tmp_path / name) == pytest.approx([0.2, 1.7], abs=0.01)


def test_looking_for_cuts_keeps_little_of_a_frame():
    finder = CutFinder()
    rng = np.random.default_rng(0)
    for _ in finder.watch(rng.integers(0, 255, (60, 80, 3), np.uint8) for _ in range(200)):
        pass
    kept = [value for value in vars(finder).values() if value is not None and not isinstance(value, VideoReformatter)]
    numbers = sum(getattr(value, "nbytes", 0) or len(value) * getattr(value, "itemsize", 10_000) for value in kept)
    assert numbers < 200 * 16 + 4_000


def test_frames_closer_than_the_time_base_are_all_written_in_order(tmp_path):
    times = [0.0, 1e-6, 2e-6, 0.04, 0.04, 0.08]
    with VideoWriter(tmp_path / "a.mp4", Fraction(25)) as writer:
        for time in times:
            writer.write(np.zeros((64, 64, 3), np.uint8), time)
    with av.open(str(tmp_path / "a.mp4")) as container:
        written = [frame.time for frame in container.decode(video=0)]
    assert len(written) == len(times)
    assert all(later > earlier for earlier, later in itertools.pairwise(written))
    assert np.allclose(written, times, atol=1e-3)


def test_channels_are_averaged_not_added_up(tmp_path):
    wav = np.random.default_rng(0).uniform(-0.9, 0.9, 8000).astype(np.float32)
    for name, channels in (("mono", wav), ("stereo", np.stack((wav, wav), axis=1))):
        soundfile.write(tmp_path / f"{name}.wav", channels, 16000, subtype="FLOAT")
    mono, stereo = (read_audio(tmp_path / f"{name}.wav", 16000) for name in ("mono", "stereo"))
    assert np.abs(stereo - mono).max() < 1e-3
