"""A file's clock: pictures and sound come when a player plays them. Tracks, channels and damage of sound."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from dubbing.options import Options
from dubbing.source import Source
from footage import click_track, encode, number_of, numbered, recording
from media import yuv
from media.clock import LONGEST_STEP, Clock, Span
from media.reader import VideoReader
from media.sound import HOLE, continuous, read_audio, sound_clock
from media.writer import VideoWriter
from portrait import SPEECH

RATE = 16_000
MILLISECONDS = Fraction(1, 1000)
SAMPLES = Fraction(1, RATE)

lengths = st.sampled_from([40, 320, 384, 1024, 1152])  # samples of a packet
differences = st.one_of(st.just(0), st.integers(-300, 300), st.integers(-2000, 3000))  # samples between packets
packet_lists = st.lists(st.tuples(lengths, differences), min_size=1, max_size=30)
starts = st.integers(-5 * RATE, 5 * RATE)


def placed(packets, start: int) -> list[tuple[int, int]]:
    """(first sample, samples) of every packet on the file's clock."""
    result = []
    for samples, difference in packets:
        start = start + (difference if result else 0)
        result.append((start, samples))
        start += samples
    return result


def frames_of(places, time_base: Fraction = SAMPLES):
    """Decoded frames whose samples tell their own times, counted from the earliest stamp, from 1 on."""
    begin = min(first for first, _ in places)
    for first, samples in places:
        ramp = (first - begin + 1 + np.arange(samples)) / 2**22
        frame = av.AudioFrame.from_ndarray(ramp[None].astype(np.float32), format="flt", layout="mono")
        frame.rate, frame.pts, frame.time_base = RATE, round(first / RATE / time_base), time_base
        yield frame


def joined(frames, log=None) -> np.ndarray:
    """When each sample should be heard, from 1 on; 0 where there is silence."""
    blocks = [out.to_ndarray()[0] for out in continuous(frames, "flt", "mono", RATE, log)]
    return np.rint(np.concatenate(blocks) * 2**22).astype(int)


@settings(deadline=None, max_examples=60)
@given(packet_lists, starts, st.sampled_from([SAMPLES, MILLISECONDS]))
def test_every_sample_is_heard_when_its_stamp_says(packets, start, time_base):
    places = placed(packets, start)
    heard = joined(frames_of(places, time_base))
    within = (HOLE + time_base) * RATE + 1
    begin = min(first for first, _ in places)
    at = np.flatnonzero(heard)
    assert (np.abs(heard[at] - 1 + begin - (places[0][0] + at)) <= within).all()
    assert abs(len(heard) - (max(map(sum, places)) - places[0][0])) <= within
    stamped = len(set().union(*(range(max(first, places[0][0]), first + samples) for first, samples in places)))
    assert len(at) >= stamped - 2 * within * len(places)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(lengths, st.integers(-70, 70)), min_size=1, max_size=40), starts)
def test_stamps_that_waver_change_nothing(packets, start):
    """Each is off by up to 4 ms from where the samples put it, in both directions."""
    exact = placed([(samples, 0) for samples, _ in packets], start)
    wavering = list(frames_of(exact))
    for frame, (_, off) in zip(wavering, packets, strict=True):
        frame.pts += off
    assert np.array_equal(joined(wavering), np.arange(sum(samples for samples, _ in packets)) + 1)


CLICK = 0.06  # seconds, longer than a lost packet


def clicks(seconds: float, rate: int, at: tuple[float, ...]) -> np.ndarray:
    wav = np.zeros(round(seconds * rate), np.float32)
    for time in at:
        wav[round(time * rate) : round((time + CLICK) * rate)] = 0.9 * np.sin(np.arange(round(CLICK * rate)))
    return wav


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.mkv", "libopus", 48000), ("a.ts", "aac", 44100)])
def test_speech_with_lost_packets_keeps_its_length_and_its_times(tmp_path, name, codec, rate):
    wav = clicks(6.0, rate, (0.5, 5.5))
    source = recording(tmp_path / name, wav, codec=codec, rate=rate, lost=range(4, 999, 9))
    findings: list[str] = []
    heard = read_audio(source, RATE, sound_clock(source).zero, None, findings)
    assert len(heard) / RATE == pytest.approx(6.0, abs=0.1)
    loud = np.flatnonzero(np.abs(heard) > 0.3) / RATE
    assert loud.max() == pytest.approx(5.5 + CLICK, abs=0.04)
    (finding,) = findings
    count, seconds = finding.removesuffix(" s").split(" holes in the sound, ")
    assert int(count) > 5
    assert float(seconds) == pytest.approx(6 / 9, abs=0.15)


frame_steps = st.lists(st.integers(8, 400), min_size=1, max_size=12)  # milliseconds from picture to picture


@settings(deadline=None, max_examples=60)
@given(frame_steps, st.integers(0, 900), st.sampled_from([25.0, 30.0, None]))
def test_at_every_time_the_picture_is_shown_that_a_player_shows(steps, late, fps):
    times = np.cumsum([late, *steps]) / 1000
    shown_from = [0.0, *times[1:].tolist()]
    clock = Clock(0.0, Span(times[0], times[-1] + 0.04), step=float(np.median(steps)) / 1000).filled(fps)
    put_out = [
        (time, number) for number, (start, end) in enumerate(pairwise([*shown_from, times[-1] + 0.04]))
        for time in clock.times_shown(start, end)
    ]  # fmt: skip
    assert put_out[0] == (0.0, 0)
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(put_out))
    for time, number in put_out:
        assert number == np.searchsorted(shown_from, time + 1e-5, side="right") - 1
    if fps is None:
        assert [number for _, number in put_out] == list(range(len(shown_from)))
    elif clock.slow:
        assert np.allclose([time for time, _ in put_out], np.arange(len(put_out)) / fps)
    else:
        assert max((b - a for (a, _), (b, _) in pairwise(put_out)), default=0) <= LONGEST_STEP + 1e-6


def video(path, times: list[float], codec: str = "mpeg4"):
    """Numbered pictures at these times, and sound from 0 on."""
    return encode(path, codec, times=times, sound=np.zeros(44100))


def played(path, seconds: float, fps: float | None = 25.0, **how) -> list[tuple[int, float]]:
    source = Source(path, Options(fps="source" if fps is None else str(fps)))
    frames = source.extend_frames(seconds, **how)
    return [(number_of(yuv.to_bgr(frame.picture)), round(frame.time, 3)) for frame in frames]


def test_pictures_that_start_late_keep_their_times_and_the_first_is_held_before_them(tmp_path):
    path = video(tmp_path / "a.ts", [0.6 + n / 25 for n in range(10)], "libx264")
    clock = VideoReader(path).clock
    frames = played(path, 1.0)
    assert len(frames) == pytest.approx(25, abs=1)
    assert frames[0] == (0, 0.0)
    for number, time in frames:
        wanted = max(0, int(np.floor((time - clock.picture.start) * 25 + 0.1)))
        assert number == pytest.approx(wanted, abs=0)
    assert "picture starts 0.6" in " ".join(clock.findings)
    again = [number for number, time in played(path, 1.5) if time > 1.01]
    assert again == [*range(10), 0, 1]  # not late in what follows


def test_a_slow_video_shows_25_pictures_a_second_and_one_of_a_variable_rate_where_it_is_slow(tmp_path):
    path = video(tmp_path / "slow.mkv", [n / 20 for n in range(20)])
    frames = played(path, 1.0)
    assert [time for _, time in frames] == [round(n / 25, 3) for n in range(25)]
    assert {time: number for number, time in frames}[0.52] == 10
    assert VideoReader(path).clock.filled(25.0).findings == ["25 fps from 20"]
    assert played(path, 0.5, None)[:10] == [(n, round(n / 20, 3)) for n in range(10)]
    path = video(tmp_path / "variable.mkv", [0.0, 0.04, 0.08, 0.4, 0.44, 0.48])
    frames = played(path, 0.52)
    assert [number for number, _ in frames] == [0, 1, *[2] * 8, 3, 4, 5]
    assert [time for _, time in frames] == pytest.approx([n / 25 for n in range(13)], abs=0.001)
    assert VideoReader(path).clock.filled(25.0).findings == ["below 24 fps in 1 place"]
    source = Source(video(tmp_path / "a.mkv", [n / 25 for n in range(25)]), Options())
    extensions = [source.extension(seconds) for seconds in (0.5, 1.06, 1.45, 1.6)]
    assert extensions == ["loop", "hold", "hold", "loop"]  # much longer sound alone plays the pictures again


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.vob", "mpeg2video")])
def test_recordings_that_were_joined_follow_each_other(tmp_path, name, codec):
    sound = click_track(1.0, 0.4)
    part = encode(tmp_path / f"part.{'ts' if name == 'a.ts' else 'mpg'}", codec, frames=25, sound=sound).read_bytes()
    (tmp_path / name).write_bytes(3 * part)
    reader = VideoReader(tmp_path / name)
    pictures = [(number_of(yuv.to_bgr(picture)), time) for time, picture in reader.pictures()]
    assert [number for number, _ in pictures] == [*range(25)] * 3
    assert np.diff([time for _, time in pictures]) == pytest.approx(0.04, abs=1e-3)
    assert reader.clock.findings[:1] == ["3 recordings joined"]
    assert reader.frame_estimate == 75
    wav = np.abs(read_audio(tmp_path / name, RATE, pictures[0][1]))
    loud = np.flatnonzero(wav > 0.2) / RATE
    starts = loud[np.diff(loud, prepend=-1) > 0.1]
    assert starts == pytest.approx([0.4, 1.4, 2.4], abs=0.06)
    late = next(reader.pictures(since=pictures[60][1]))[1]
    assert number_of(yuv.to_bgr(late)) == 10


@pytest.mark.parametrize(
    ("b_frames", "delay", "lost"),  # delay: of the pictures, by which FFmpeg puts an empty one after the first
    [("3", 0, ()), ("3", 1, ()), ("0", 0, range(5, 35, 3))],
)
def test_pictures_in_avi_are_shown_in_order_from_the_start(tmp_path, b_frames, delay, lost):
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": b_frames, "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        pictures = [av.VideoFrame.from_ndarray(numbered(n), format="bgr24") for n in range(70)]
        for n, picture in enumerate(pictures):
            picture.pts, picture.time_base = n, Fraction(1, 25)
        for n, packet in enumerate([packet for picture in [*pictures, None] for packet in stream.encode(picture)]):
            written = av.Packet(bytes(50)) if n in lost else packet
            written.stream, written.pts, written.dts, written.time_base = stream, n + delay, n + delay, Fraction(1, 25)
            out.mux(written)
    reader = VideoReader(tmp_path / "a.avi")
    shown = [(number_of(yuv.to_bgr(picture)), time) for time, picture in reader.pictures()]
    whole = shown if not lost else shown[-15:]  # where nothing is missing any more
    first = 70 - len(whole)
    assert (first == 0) == (not lost)
    assert whole == [(n % 40, pytest.approx(n / 25, abs=1e-3)) for n in range(first, 70)]


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
