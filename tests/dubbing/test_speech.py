"""The sound of a dub: the speech, where it is silent, how loud it is heard; what is copied, and when it is heard."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

import audio
from dubbing.options import Options
from dubbing.speech import SHORTEST_REST, fade_silence, load_speech, speech_gate
from footage import BOX, recording
from hparams import hparams
from media.reader import VideoReader
from media.sound import read_audio
from portrait import SPEECH

RATE = 16_000
REST, MODEL = Options(), Options(silence="model")


def test_the_mouth_rests_in_silence_and_not_in_short_pauses(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    noise = np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32)
    audio.save_wav(np.concatenate([wav, noise, wav]), tmp_path / "pause.wav", RATE)
    rest, model = (load_speech(tmp_path / "pause.wav", how, hparams) for how in (REST, MODEL))
    silent = slice(round(1.3 * 80), round(1.7 * 80))
    assert (rest.mel[:, silent] == -hparams.max_abs_value).all()
    assert model.mel[:, silent].std() > 0.1
    assert np.array_equal(rest.mel[:, 16:60], model.mel[:, 16:60])
    assert 0.2 < rest.silent < 0.4
    powers = np.ones(80)  # 4 s, of 50 ms each
    powers[20:24] = powers[40:56] = 1e-9  # pauses of 0.2 s and 0.8 s
    gate = speech_gate(powers, 320, hparams)
    assert SHORTEST_REST > 0.2
    assert gate[:140].min() > 0.999
    assert (gate[180:200] == 0).all()
    assert np.abs(np.diff(gate)).max() < 0.2
    assert np.abs(np.diff(fade_silence(np.zeros((80, 3)), np.array([0, 0.5, 1]), hparams)[0])).max() == 2


def test_quiet_speech_is_heard_as_if_it_were_not_quiet_unless_its_level_is_kept(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 3 * RATE]
    pause = np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32)
    for name, level in (("plain", 1.0), ("quiet", 0.03)):  # 30 dB
        soundfile.write(tmp_path / f"{name}.wav", np.concatenate([wav, pause, wav]) * level, RATE, subtype="FLOAT")
    plain, quiet = (load_speech(tmp_path / f"{name}.wav", REST, hparams) for name in ("plain", "quiet"))
    assert plain.raised == 0.0
    assert quiet.raised == pytest.approx(30, abs=2)
    assert quiet.silent == pytest.approx(plain.silent, abs=0.02)  # the silence detector's floor follows
    spoken = slice(16, 120)
    difference = 8 / 100 * (quiet.raised + 20 * np.log10(0.03))  # of the mels' -4..4
    assert np.abs(quiet.mel[:, spoken] - plain.mel[:, spoken] - difference).mean() < 0.05
    kept = load_speech(tmp_path / "quiet.wav", Options(silence="model", level="keep"), hparams)
    assert kept.raised == 0.0
    assert np.array_equal(kept.mel, audio.melspectrogram(audio.load_wav(tmp_path / "quiet.wav", RATE)))


def test_speech_that_starts_late_in_its_file_is_silent_till_then(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    recording(tmp_path / "late.mkv", wav, codec="flac", rate=RATE, sound_at=0.5)
    late = load_speech(tmp_path / "late.mkv", MODEL, hparams)
    assert late.seconds == pytest.approx(1.5, abs=0.01)
    assert (late.mel[:, : round(0.47 * 80)] == -hparams.max_abs_value).all()
    own = load_speech(tmp_path / "a.wav", MODEL, hparams)
    assert np.abs(late.mel[:, 44:116] - own.mel[:, 4:76]).max() < 0.2


def sound_packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.slow
def test_sound_goes_in_packet_by_packet_where_its_codec_fits(dub, talking, speech, tmp_path):
    assert dub(*BOX, "--audio", talking, "--no_score").code == 0
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(talking)
    whole, copied = read_audio(talking, RATE), read_audio(tmp_path / "out.mp4", RATE)
    assert np.array_equal(whole, copied[: len(whole)])
    soundfile.write(tmp_path / "a.mp3", read_audio(speech, RATE), RATE, format="MP3")
    assert dub(*BOX, "--audio", tmp_path / "a.mp3", "--no_score").code == 0
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(tmp_path / "a.mp3")


def test_a_late_sound_in_5_1_stays_late_and_another_stream_can_be_chosen(dub, speech, tmp_path):
    silence = np.zeros((6, 48_000), np.float32)
    wav = silence.copy()
    wav[2] = np.repeat(read_audio(speech, RATE), 3)[:48_000] * 0.2
    wav[2, 24000:24100] = 0.95  # a click at half a second
    source = recording(tmp_path / "late.mkv", silence, wav, sound_at=0.3)
    assert "has no sound track 5" in dub(*BOX, "--audio", source, "--audio_stream", 5).error
    out = tmp_path / "out.mp4"
    assert dub(*BOX, "--audio", source, "--audio_stream", 1, "--no_score").code == 0
    with av.open(str(out)) as container:
        first = next(container.decode(video=0)).time
    heard = read_audio(out, RATE, first)
    assert np.abs(heard).argmax() / RATE == pytest.approx(0.8, abs=0.01)
    frames = list(VideoReader(out).pictures())
    assert frames[-1][0] - frames[0][0] + 0.04 == pytest.approx(1.3, abs=0.05)


def extras_of(path) -> tuple[list, list]:
    """Chapters and subtitles of a file: text, start and end in seconds."""
    with av.open(str(path)) as container:
        chapters = [
            (chapter["metadata"]["title"], *(float(chapter[edge] * chapter["time_base"]) for edge in ("start", "end")))
            for chapter in container.chapters()
        ]
        lines = [line for line in container.demux(subtitles=0) if line.size] if container.streams.subtitles else []
        times = [(line.pts * line.time_base, (line.pts + line.duration) * line.time_base) for line in lines]
        texts = [(bytes(line).decode(), *map(float, time)) for line, time in zip(lines, times, strict=True)]
        return chapters, texts


def test_chapters_and_subtitles_go_in_where_they_can_and_are_named_where_they_cannot(dub, talking, tmp_path):
    source, texts = tmp_path / "source.mkv", tmp_path / "a.srt"
    texts.write_text("1\n00:00:00,200 --> 00:00:00,800\nhello\n\n2\n00:00:00,900 --> 00:00:01,900\nworld\n")
    with av.open(str(talking)) as pictures, av.open(str(texts)) as lines, av.open(str(source), "w") as out:
        both = [(number, number + 1) for number in range(2)]
        unit = {"time_base": Fraction(1)}
        out.set_chapters([unit | {"id": a, "start": a, "end": b, "metadata": {"title": f"{a}"}} for a, b in both])
        video, subtitles = out.add_stream("libx264", rate=25), out.add_stream_from_template(lines.streams.subtitles[0])
        video.width = video.height = 512
        for picture in pictures.decode(video=0):
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        for packet in lines.demux(subtitles=0):
            if packet.size:
                packet.stream = subtitles
                out.mux(packet)
    flags = [*BOX, "--face", source, "--no_score"]
    assert dub(*flags, "--outfile", tmp_path / "whole.mkv").code == 0
    hello, world = ("hello", pytest.approx(0.2), pytest.approx(0.8)), ("world", pytest.approx(0.9), pytest.approx(1.0))
    assert extras_of(tmp_path / "whole.mkv") == ([("0", 0, 1)], [hello, world])  # a second is shown
    result = dub(*flags, "--start", 0.6, "--outfile", tmp_path / "part.mov")
    assert "subtitles lost" in result.out
    cut = [("0", 0, pytest.approx(0.4)), ("1", pytest.approx(0.4), pytest.approx(1.0))]
    assert extras_of(tmp_path / "part.mov") == (cut, [])
