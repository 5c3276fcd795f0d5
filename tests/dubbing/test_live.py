"""Streams: their mouths and sound, what happens in silence, and where sending is slow or breaks off."""

import time
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

import audio
from dubbing import Dubber, Options
from dubbing.live import LiveDub
from footage import BOX
from hparams import hparams
from media import live_writer, yuv
from media.live_sound import LiveSound, Piece
from media.live_writer import LiveFrame, LiveWriter
from media.reader import VideoReader
from media.sound import read_audio
from portrait import SPEECH

RATE = 16_000
AS_HEARD = {"silence": "model", "level": "keep"}


def options(generator, **given) -> Options:
    return Options(checkpoint_path=generator, box=tuple(BOX[1:]), precision="fp32", device="cpu", **given)


@pytest.fixture(scope="module")
def stream(generator, talking) -> LiveDub:
    return LiveDub(talking, options(generator, **AS_HEARD))


def in_pieces(wav: np.ndarray, size: int) -> list[Piece]:
    return [Piece(wav[first : first + size], time.monotonic()) for first in range(0, len(wav), size)]


def test_the_idle_video_goes_back_and_forth_and_each_frame_hears_what_it_does_in_a_dub(stream, monkeypatch):
    wav, heard = audio.load_wav(SPEECH, RATE)[: 5 * RATE], []
    monkeypatch.setattr(stream, "_picture", lambda number, mel, around: heard.append(mel))
    frames = list(stream.frames(in_pieces(wav, 700)))
    mel = audio.melspectrogram(np.append(wav, np.zeros(RATE, np.float32)))
    for number, (frame, window) in enumerate(zip(frames, heard, strict=True)):
        start = audio.dub_mel_start(number / 25, mel.shape[1])
        np.testing.assert_allclose(window, mel[:, start : start + 16], atol=1e-5)
        assert frame.time == number / 25
    assert len(frames) == 125
    assert np.array_equal(np.concatenate([frame.samples for frame in frames]), wav)
    monkeypatch.undo()
    monkeypatch.setattr(stream, "person", SimpleNamespace(stages={}, own_pixels=None))
    monkeypatch.setattr(stream, "idle", [(frame, None) for frame, _ in stream.idle])
    count = len(stream.idle)
    shown = [yuv.planes(stream._picture(number, mel, mel))[0] for number in (0, count - 1, count, 2 * count - 2)]
    for picture, number in zip(shown, (0, count - 1, count - 2, 0), strict=True):
        assert np.array_equal(picture, yuv.planes(stream.idle[number][0].picture)[0])


def test_frames_come_with_their_sound_as_soon_as_the_network_has_heard_enough(stream):
    came, wav = [], audio.load_wav(SPEECH, RATE)[:RATE]
    given = [0]

    def pieces():
        for piece in in_pieces(wav, 160):
            given[0] += 160
            yield piece

    for frame in stream.frames(pieces()):
        came.append(given[0] / RATE - frame.time)
    assert max(came[1:20]) <= 0.19  # 172 ms and a piece
    late = [piece._replace(due=time.monotonic() - 1) for piece in in_pieces(wav, 160)]
    frames = list(stream.frames(late, drop=True))
    assert sum(frame.picture is None for frame in frames) >= 20
    assert np.array_equal(np.concatenate([frame.samples for frame in frames]), wav)


def test_quiet_speech_is_raised_and_in_pauses_the_mouth_rests(generator, talking, monkeypatch):
    dub, heard = LiveDub(talking, options(generator)), []
    monkeypatch.setattr(dub, "_picture", lambda number, mel, around: heard.append(mel))
    wav = np.tile(audio.load_wav(SPEECH, RATE)[: 2 * RATE], 4)
    quiet = 0.01 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    loudest = []
    for level in (1.0, 0.05):
        heard.clear()
        list(dub.frames(in_pieces(level * np.concatenate([wav, 0.1 * quiet]).astype(np.float32), 320)))
        assert (np.stack(heard[-30:]) == -hparams.max_abs_value).all()
        loudest.append(float(np.stack(heard[100:190]).max()))
    assert abs(loudest[0] - loudest[1]) < 1


def test_from_python_a_stream_is_a_loop_over_frames(generator, talking):
    dubber = Dubber(options(generator))
    chunks = (np.zeros(320, np.float32) for _ in range(10**9))  # without end
    frames = list(islice(dubber.stream(talking, chunks), 30))
    assert [frame.picture.width for frame in frames] == [512] * 30
    before = yuv.planes(next(VideoReader(talking).pictures())[1])[0]
    changed = np.argwhere(yuv.planes(frames[0].picture)[0] != before)
    assert changed.min() > 100 and changed.max() < 280


def test_sound_of_a_growing_file_comes_as_it_is_heard_and_silence_where_there_is_none(tmp_path):
    path, sound = tmp_path / "growing.raw", np.full(RATE // 5, 8192, "<i2").tobytes()
    path.write_bytes(sound[:-1])
    pieces, began, heard = LiveSound(str(path), RATE).pieces(), time.monotonic(), []
    for piece in pieces:
        heard.append(piece.samples)
        assert piece.due <= time.monotonic() < piece.due + 5
        if len(np.concatenate(heard)) > 0.6 * RATE:
            break
    assert 0.5 < time.monotonic() - began < 10
    with path.open("ab") as file:
        file.write(sound[-1:] + sound)
    heard += [piece.samples for piece in islice(pieces, 15)]
    wav = np.concatenate(heard)
    assert np.count_nonzero(wav) == 2 * RATE // 5 and set(np.unique(wav)) == {0.0, 0.25}


def made_frame(number: int) -> LiveFrame:
    picture = yuv.from_bgr(np.full((64, 64, 3), number % 250, np.uint8), "yuv420p")
    return LiveFrame(picture, number / 25, np.full(640, 0.1, np.float32), time.monotonic())


def writer_to(to: str, sent: list) -> LiveWriter:
    encoding = live_writer.Encoding("libx264", "yuv420p", {"preset": "ultrafast"})
    return LiveWriter(to, live_writer.Fraction(25), RATE, encoding, sent.append)


def test_a_slow_target_costs_pictures_but_no_sound(monkeypatch, tmp_path):
    monkeypatch.setattr(live_writer._Container, "send", lambda self, frame: time.sleep(0.02 if frame.picture else 0))
    sent = []
    with writer_to(str(tmp_path / "out.ts"), sent) as writer:
        for number in range(60):
            writer.put(made_frame(number))
    assert writer.dropped > 20 and sum(frame.picture is None for frame in sent) == writer.dropped
    assert sum(len(frame.samples) for frame in sent) == 60 * 640


def test_a_url_that_breaks_off_is_opened_again_and_a_full_disk_is_an_error(monkeypatch, tmp_path, capsys):
    opened, sent = [], []

    class Broken:
        def __init__(self, writer, frame):
            opened.append(frame.time)
            if len(opened) == 2:
                raise OSError(111, "Connection refused")

        def send(self, frame):
            if len(opened) == 1 and frame.time > 0.2:
                raise OSError(32, "Broken pipe")

        def close(self): ...

    monkeypatch.setattr(live_writer, "_Container", Broken)
    monkeypatch.setattr(live_writer, "PAUSES", (0.02, 0.1))
    with writer_to("rtmp://127.0.0.1/app", sent) as writer:
        for number in range(60):
            writer.put(made_frame(number), wait=True)
            time.sleep(0.005)
    warnings = capsys.readouterr().err.splitlines()
    assert [line.rpartition("again in ")[2] for line in warnings] == ["0.02 s", "0.04 s"]
    assert len(opened) == 3 and sent[-1].time == 59 / 25
    opened.clear()
    with pytest.raises(OSError, match="pipe"), writer_to(str(tmp_path / "out.ts"), []) as writer:
        for number in range(60):
            writer.put(made_frame(number), wait=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.ts"])
def test_the_script_writes_a_file_whose_sound_is_in_time(script, generator, talking, tmp_path, name):
    wav = audio.load_wav(SPEECH, RATE)[: 2 * RATE]
    audio.save_wav(wav, tmp_path / "speech.wav", RATE)
    given = {"face": talking, "audio": tmp_path / "speech.wav", "out": tmp_path / name, "checkpoint_path": generator}
    flags = [part for flag, value in given.items() for part in (f"--{flag}", value)]
    result = script("live", *flags, *BOX, "--fast", "--latency")
    assert result.code == 0 and "50 frames, 0 of them dropped" in result.out and "p95" in result.out
    reader = VideoReader(tmp_path / name)
    assert len(list(reader.pictures())) == 50
    kept = read_audio(tmp_path / name, RATE, reader.clock.zero)[RATE // 2 : 3 * RATE // 2]
    scores = [float(kept @ wav[start : start + RATE]) for start in range(RATE // 2 - 400, RATE // 2 + 400)]
    assert abs(int(np.argmax(scores)) - 400) <= 16  # samples


def test_what_cannot_be_sent_is_said_at_once(script, talking, tmp_path):
    other = tmp_path / "mine.mp4"
    other.write_bytes(b"not a dub")
    for out, text in ((other, "exists"), ("http://a/b", "give -"), (tmp_path / "a.avi", "give -")):
        result = script("live", "--face", talking, "--audio", "-", "--out", out)
        assert result.code == 2 and f"--out {out}: {text}" in result.error
    for given, text in (("none.wav", "no such file"), (other, "is not a readable")):
        assert text in script("live", "--face", talking, "--audio", given, "--out", "-").error
