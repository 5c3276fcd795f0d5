"""What a dub takes from its source: colours, alpha, levels of light; the speech, its sound, chapters, subtitles."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
from PIL import Image

import audio
from dubbing.options import Options
from dubbing.source import Source
from dubbing.speech import SHORTEST_REST, fade_silence, load_speech, speech_gate
from dubbing.voices import Part
from footage import BOX, film, recording
from hparams import hparams
from media import yuv
from media.reader import VideoReader
from media.sound import read_audio
from media.writer import VideoWriter
from portrait import SPEECH

COLOURS = ((254, 0, 0), (0, 255, 0), (0, 0, 254), (40, 160, 220))  # BGR, one for each quarter of a picture
BEHIND = (10, 200, 30)  # RGB


def quarters(width: int, height: int) -> np.ndarray:
    small = np.array(COLOURS, np.uint8).reshape(2, 2, 3)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def seen(image: np.ndarray) -> np.ndarray:
    """The colours of the four quarters."""
    height, width = image.shape[:2]
    return np.array([image[y * height // 4, x * width // 4].astype(int) for y in (1, 3) for x in (1, 3)])


def written(path: Path, out: Path, codec: str = "auto", **transform) -> Source:
    """Write the source again, as a dub does."""
    source = Source(path, Options(picture_size=0, codec=codec, **transform), out.suffix)
    with VideoWriter(out, source.rate, None, source.opened, source.encoding) as writer:
        for frame in source.extend_frames(0.12):
            writer.write_picture(frame.picture, frame.time)
    return source


def shown(path: Path) -> list[np.ndarray]:
    """The first picture, as players show it that honour tags, and as those that go by the height."""
    _, picture = next(VideoReader(path).pictures())
    by_height = yuv.clone(picture)
    by_height.colorspace = yuv.BT709 if picture.height >= 720 else yuv.BT601
    return [yuv.to_bgr(picture), yuv.to_bgr(by_height)]


def tags(path: Path) -> tuple[int, ...]:
    _, picture = next(VideoReader(path).pictures())
    return tuple(map(int, (picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc)))


@pytest.mark.parametrize(("name", "codec", "height", "matrix"), [
    ("a.mp4", "auto", 720, yuv.BT709), ("a.mkv", "ffv1", 360, yuv.BT601),
])  # fmt: skip
def test_pictures_are_shown_in_their_colours_by_every_player(tmp_path, name, codec, height, matrix):
    Image.fromarray(quarters(320, height)[..., ::-1]).save(tmp_path / "a.jpg", quality=98)
    written(tmp_path / "a.jpg", tmp_path / name, codec)
    assert tags(tmp_path / name) == (matrix, yuv.LIMITED_RANGE, yuv.BT709, yuv.SRGB)
    for image in shown(tmp_path / name):
        assert np.abs(seen(image) - COLOURS).max() <= 6


@pytest.mark.parametrize(("name", "encoder", "out", "codec", "kept"), [
    ("a.avi", "mjpeg", "out.mp4", "h264", yuv.FULL_RANGE), ("a.mkv", "ffv1", "out.mov", "prores", yuv.LIMITED_RANGE),
])  # fmt: skip
def test_full_range_stays_or_is_converted(tmp_path, name, encoder, out, codec, kept):
    pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    pictures = [quarters(160, 120)] * 3
    film(tmp_path / name, encoder, pictures, pix_fmt, options={"q": "2"}, colorspace=5, color_range=2)
    written(tmp_path / name, tmp_path / out, codec)
    assert tags(tmp_path / out)[1] == kept
    assert np.abs(seen(shown(tmp_path / out)[0]) - COLOURS).max() <= 8


def cut_out(width: int = 160, height: int = 120) -> np.ndarray:
    """RGBA: the left half transparent, with a colour that is not to be seen; the right half opaque."""
    image = np.full((height, width, 4), (250, 20, 240, 0), np.uint8)
    image[:, width // 2 :] = (220, 160, 40, 255)
    return image


TRANSPARENT = [
    ("a.webm", "libvpx-vp9", "yuva420p", "out.webm", "auto"),
    ("a.mov", "prores_ks", "yuva444p10le", "out.mov", "prores"),
    ("b.mov", "qtrle", "argb", "out.webm", "vp9"),
]


@pytest.mark.parametrize(("name", "encoder", "pix_fmt", "out", "codec"), TRANSPARENT)
def test_alpha_of_video_is_kept_or_composited(tmp_path, name, encoder, pix_fmt, out, codec):
    options = {"crf": "10", "b": "2M", "auto-alt-ref": "0"} if encoder.startswith("libvpx") else {}
    film(tmp_path / name, encoder, [cut_out()] * 3, pix_fmt, options=options)
    assert written(tmp_path / name, tmp_path / out, codec).opened.findings == []
    _, picture = next(VideoReader(tmp_path / out).pictures())
    alpha = yuv.planes(picture)[3] / (2 ** yuv.bit_depth(picture) - 1)
    assert (alpha[:, :70].max(), alpha[:, 90:].min()) == pytest.approx((0, 1), abs=0.02)
    assert np.abs(yuv.to_bgr(picture)[60, 120].astype(int) - (40, 160, 220)).max() <= 8

    source = written(tmp_path / name, tmp_path / "flat.mp4", background=BEHIND)
    assert source.opened.findings == ["alpha composited"]
    image = shown(tmp_path / "flat.mp4")[0].astype(int)
    assert np.abs(image[60, 40] - BEHIND[::-1]).max() <= 6
    assert np.abs(image[60, 120] - (40, 160, 220)).max() <= 8
    assert np.abs(next(VideoReader(tmp_path / name).frames()).image[60, 40].astype(int)).max() <= 2  # black for crops


@pytest.mark.parametrize(("out", "codec"), [("out.mp4", "auto"), ("out.mov", "hevc"), ("out.webm", "av1")])
def test_levels_of_hdr10_are_handed_on(tmp_path, out, codec):
    display = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    film(
        tmp_path / "a.mkv", "libx265", [quarters(160, 120)] * 3, "yuv420p10le",
        options={"x265-params": f"log-level=error:{display}"},
        colorspace=9, color_range=1, color_primaries=9, color_trc=16,
    )  # fmt: skip
    source = written(tmp_path / "a.mkv", tmp_path / out, codec)
    ours, theirs = VideoReader(tmp_path / out).hdr, source.opened.hdr
    assert theirs is not None and theirs.light == (1000, 400)
    assert ours is not None and ours.light == theirs.light
    assert np.allclose(np.array(ours.display, float), np.array(theirs.display, float), rtol=0.02, atol=1e-4)
    assert tags(tmp_path / out) == (9, 1, 9, 16)
    assert source.opened.findings == []
    assert written(tmp_path / "a.mkv", tmp_path / "b.mov", "prores").opened.findings == ["HDR10 levels lost"]


def test_large_pictures_are_scaled_down(tmp_path):
    Image.new("RGB", (1200, 2400), (200, 100, 50)).save(tmp_path / "a.jpg")
    source = Source(tmp_path / "a.jpg", Options())
    assert (source.width, source.height) == (960, 1920)
    (frame,) = source.iter_once()
    assert (frame.picture.width, frame.picture.height) == (960, 1920)
    assert source.opened.findings == ["scaled to 960x1920"]


RATE = 16_000
REST, MODEL = Options(), Options(silence="model")


def test_the_mouth_rests_in_silence_and_not_in_short_pauses(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    noise = np.random.default_rng(0).normal(0, 1e-3, RATE).astype(np.float32)
    audio.save_wav(np.concatenate([wav, noise, wav]), tmp_path / "pause.wav", RATE)
    rest, model = (load_speech([Part(tmp_path / "pause.wav")], how, hparams) for how in (REST, MODEL))
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
    plain, quiet = (load_speech([Part(tmp_path / f"{name}.wav")], REST, hparams) for name in ("plain", "quiet"))
    assert plain.raised == 0.0
    assert quiet.raised == pytest.approx(30, abs=2)
    assert quiet.silent == pytest.approx(plain.silent, abs=0.02)  # the silence detector's floor follows
    spoken = slice(16, 120)
    difference = 8 / 100 * (quiet.raised + 20 * np.log10(0.03))  # of the mels' -4..4
    assert np.abs(quiet.mel[:, spoken] - plain.mel[:, spoken] - difference).mean() < 0.05
    kept = load_speech([Part(tmp_path / "quiet.wav")], Options(silence="model", level="keep"), hparams)
    assert kept.raised == 0.0
    assert np.array_equal(kept.mel, audio.melspectrogram(audio.load_wav(tmp_path / "quiet.wav", RATE)))


def test_speech_that_starts_late_in_its_file_is_silent_till_then(tmp_path):
    wav = audio.load_wav(SPEECH, RATE)[RATE : 2 * RATE]
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    recording(tmp_path / "late.mkv", wav, codec="flac", rate=RATE, sound_at=0.5)
    late = load_speech([Part(tmp_path / "late.mkv")], MODEL, hparams)
    assert late.seconds == pytest.approx(1.5, abs=0.01)
    assert (late.mel[:, : round(0.47 * 80)] == -hparams.max_abs_value).all()
    own = load_speech([Part(tmp_path / "a.wav")], MODEL, hparams)
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
