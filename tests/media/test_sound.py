"""Sound of files as they come: which track and channel is heard, what is copied into a video, what is too damaged."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from footage import click_track, recording
from media.sound import read_audio, sound_clock
from media.writer import VideoWriter
from portrait import SPEECH

RATE = 16_000


@pytest.fixture(scope="module")
def wav() -> np.ndarray:
    """Two seconds of speech."""
    return read_audio(SPEECH, RATE)[RATE : 3 * RATE]


def tone(seconds: float, pitch: float, rate: int = 48_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pitch_of(sound: np.ndarray) -> float:
    middle = sound[len(sound) // 4 : len(sound) // 4 + RATE // 2]
    return float(np.abs(np.fft.rfft(middle)).argmax()) * RATE / len(middle)


def dubbed_with(source, path) -> np.ndarray:
    """The sound of a video that is written with the sound of `source`."""
    with VideoWriter(path, Fraction(25), source) as writer:
        for n in range(25):
            writer.write(np.zeros((64, 64, 3), np.uint8), n / 25)
    return read_audio(path, RATE, 0.0)


@pytest.mark.parametrize(
    ("source", "suffix"), [("a8000.mp3", ".mp4"), ("eac3.mkv", ".m4v"), ("9 channels.wav", ".mp4")]
)
def test_sound_that_the_container_does_not_take_as_it_is_is_encoded(tmp_path, wav, source, suffix):
    if source.endswith(".mp3"):
        soundfile.write(tmp_path / source, wav[::2], RATE // 2)
    elif source.endswith(".wav"):
        soundfile.write(tmp_path / source, np.stack([wav] * 9, 1), RATE)
    else:
        recording(tmp_path / source, tone(2.0, 440), codec="eac3")
    sound = dubbed_with(tmp_path / source, tmp_path / f"out{suffix}")
    assert len(sound) / RATE == pytest.approx(2.0, abs=0.15)
    assert np.square(sound).mean() > 1e-4


def test_damaged_packets_are_counted_and_not_copied(tmp_path):
    path = recording(tmp_path / "a.mp4", tone(4.0, 440))
    with av.open(str(path)) as whole:
        places = [packet.pos for packet in whole.demux(audio=0) if packet.size]
    content = bytearray(path.read_bytes())
    for at in places[20:40]:
        content[at : at + 60] = b"\xff" * 60
    path.write_bytes(content)
    findings: list[str] = []
    heard = read_audio(path, RATE, sound_clock(path).zero, None, findings)
    assert any("damaged" in finding for finding in findings)
    result = dubbed_with(path, tmp_path / "out.mp4")
    assert len(result) == pytest.approx(len(heard), abs=0.15 * RATE)
    again: list[str] = []
    read_audio(tmp_path / "out.mp4", RATE, 0.0, None, again)
    assert again == []


@pytest.mark.parametrize("name", ["a.mp4", "A.WEBM"])
def test_a_hole_in_the_speech_stays_one_in_the_result(tmp_path, name):
    wav = np.maximum(click_track(2.0, 0.2, 48_000), click_track(2.0, 1.7, 48_000))
    recording(tmp_path / "source.mkv", wav, codec="libopus", lost=range(26, 76))  # of 20 ms: from 0.5 s to 1.5 s
    dubbed_with(tmp_path / "source.mkv", tmp_path / name)
    for path, within in ((tmp_path / "source.mkv", 0.005), (tmp_path / name, 0.01)):
        loud = np.flatnonzero(np.abs(read_audio(path, RATE, 0.0)) > 0.3) / RATE
        assert [loud[0], loud[loud > 1][0]] == pytest.approx([0.2, 1.7], abs=within)


def test_channels_that_cancel_out_or_cannot_be_mixed_are_heard_as_one(tmp_path, wav):
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(wav)).astype(np.float32)
    for name, channels, said in (
        ("opposite", [wav, -wav], "cancel"),
        ("nearly", [0.8 * wav + noise, -wav], "cancel"),
        ("many", [wav, *[0 * wav] * 8], "channel 0"),
        ("one side", [wav, 0 * wav], ""),
        ("apart", [wav, np.roll(wav, 9000)], ""),
        ("surround", [0 * wav, 0 * wav, wav, *[0 * wav] * 3], ""),
    ):
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, 1), RATE, subtype="FLOAT")
        findings: list[str] = []
        heard = read_audio(tmp_path / f"{name}.wav", RATE, None, None, findings)
        assert (said in " ".join(findings)) if said else findings == [], name
        if said:
            assert np.abs(heard).max() == pytest.approx(np.abs(wav).max(), rel=0.05)


def test_the_first_track_is_heard_unless_another_is_marked_or_asked_for(tmp_path):
    low, high = tone(2.0, 300), tone(2.0, 1000)
    marked = (0, av.stream.Disposition.default)
    for name, marks, wanted in (("a.ts", (), 300), ("b.mkv", marked, 1000)):
        path, findings = recording(tmp_path / name, low, high, marks=marks), list[str]()
        assert pitch_of(read_audio(path, RATE, None, None, findings)) == pytest.approx(wanted, abs=5)
        assert "--audio_stream" in findings[0]
        assert pitch_of(read_audio(path, RATE, None, 0)) == pytest.approx(300, abs=5)


def test_sound_stamped_long_after_the_picture_has_ended_starts_with_it(tmp_path):
    late = 365 * 86_400
    path = recording(tmp_path / "late.mkv", tone(2.0, 440), sound_at=late)
    clock = sound_clock(path)
    assert clock.misplaced == pytest.approx(late, abs=0.1)
    assert any("stamped" in finding for finding in clock.findings)
    assert len(read_audio(path, RATE, clock.sound_zero)) / RATE == pytest.approx(2.0, abs=0.1)
    assert len(dubbed_with(path, tmp_path / "out.mp4")) / RATE == pytest.approx(2.0, abs=0.15)
