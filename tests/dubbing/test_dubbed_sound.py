"""The sound of a dub: which packets it has, and when they are heard."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from footage import BOX, mux_tracks
from media.reader import VideoReader
from media.sound import read_audio

RATE = 16_000


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
    source = mux_tracks(tmp_path / "late.mkv", [silence, wav], late=0.3)
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
