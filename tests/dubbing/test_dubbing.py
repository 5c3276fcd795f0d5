"""What inference.py makes of real-life files: planes, codecs, faces, lists of jobs."""

import hashlib
import itertools
import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import soundfile

from dubbing import dubber
from face_detection import RetinaFace
from footage import encode
from media import yuv
from media.reader import VideoReader, read_image
from media.sound import read_audio
from media.writer import VideoWriter
from models import published
from portrait import SPEECH, portrait, talking_frames
from utils import images

RATE = 16_000
BOX = ["--box", 57, 177, 178, 273]


def planes_of(path) -> list[list[np.ndarray]]:
    return [[plane.copy() for plane in yuv.planes(picture)] for _, picture in VideoReader(path).pictures()]


def record_of(path) -> dict:
    return json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))


def test_outside_the_mouth_every_sample_stays_as_the_decoder_gave_it(dub, talking, tmp_path):
    assert dub(*BOX, "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    for ours, theirs in zip(planes_of(tmp_path / "out.mkv"), planes_of(talking), strict=False):
        for new, old in zip(ours, theirs, strict=True):
            scale = 512 // new.shape[0]
            changed = np.argwhere(new != old) * scale
            assert changed.min(axis=0)[0] >= 117 - scale  # the lower half of the box
            assert changed.max(axis=0)[0] < 177
            assert changed.min(axis=0)[1] >= 178 - scale
            assert changed.max(axis=0)[1] < 273
        assert np.abs(ours[0][140:165, 205:245].astype(int) - theirs[0][140:165, 205:245]).mean() > 5


def test_the_published_paste_puts_the_whole_box_back(dub, talking, tmp_path):
    assert dub(*BOX, "--paste", "box", "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    ours, theirs = planes_of(tmp_path / "out.mkv")[5][0], planes_of(talking)[5][0]
    assert (ours[57:177, 178:273] != theirs[57:177, 178:273]).mean() > 0.9
    ours[57:177, 178:273] = theirs[57:177, 178:273]
    assert np.array_equal(ours, theirs)


def test_a_slow_video_gets_25_mouths_a_second(dub, tmp_path):
    wav = read_audio(SPEECH, RATE)[: 2 * RATE]
    with VideoWriter(tmp_path / "slow.mp4", Fraction(2)) as writer:
        for n, frame in enumerate(talking_frames(wav, 2)):
            writer.write(frame, n / 2)
    given = ["--checkpoint_path", published.BUNDLED_GENERATOR, "--face", tmp_path / "slow.mp4"]  # it hears differences
    assert dub(*BOX, *given, "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    frames = planes_of(tmp_path / "out.mkv")
    assert len(frames) == 25
    mouths = [frame[0][120:170, 185:265].astype(int) for frame in frames]
    assert sum(np.abs(later - mouth).max() > 0 for mouth, later in itertools.pairwise(mouths)) > 12
    assert np.array_equal(frames[0][0][:110], frames[11][0][:110])
    record = record_of(tmp_path / "out.mkv")
    assert (record["source_fps"], record["fps"], record["dubbed"]) == (2.0, 25.0, 25)
    arguments = (*BOX, "--face", tmp_path / "slow.mp4", "--fps", "source")
    assert dub(*arguments).code == 0
    assert record_of(tmp_path / "out.mp4")["frames"] == 2


@pytest.mark.parametrize(
    ("codec", "name", "decoder", "pix_fmt"),
    [
        ("auto", "a.mp4", "h264", "yuv420p"),
        ("hevc", "a.mov", "hevc", "yuv420p"),
        ("av1", "a.webm", "av1", "yuv420p"),
        ("prores", "a.mov", "prores", "yuv422p10le"),
        ("ffv1", "a.mkv", "ffv1", "yuv420p"),
        ("libvpx-vp9", "a.mkv", "vp9", "yuv420p"),
    ],
)
def test_every_codec_is_written_and_shows_the_same_picture(dub, talking, tmp_path, codec, name, decoder, pix_fmt):
    assert dub(*BOX, "--codec", codec, "--outfile", tmp_path / name, "--preview", 0.4).code == 0
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == decoder
        assert stream.codec_context.pix_fmt == pix_fmt
    ours, theirs = list(VideoReader(tmp_path / name).frames()), next(VideoReader(talking).frames())
    assert len(ours) == 10
    assert np.abs(ours[0].image.astype(int) - theirs.image)[200:].mean() < 4


def test_what_does_not_fit_is_refused_before_any_work(dub, tmp_path):
    for arguments, said in [
        (["--codec", "prores", "--outfile", tmp_path / "a.mp4"], "prores: does not go into .mp4"),
        (["--codec", "nonsense"], "nonsense: is no encoder"),
        (["--codec", "aac"], "aac: is no encoder"),
        (["--crf", 60], "--crf 60: leaves nothing to see in h264; give at most 40"),
        (["--crf", 64], "--crf 64: give at most 63"),
        (["--resize_factor", 10], "leaves 51x51 pixels, too few to show a face; give at most 5"),
        (["--codec", "ffv1", "--crf", 3, "--outfile", tmp_path / "a.mkv"], "has no --crf"),
        (["--preset", "nonsense"], "libx264: cannot be used here"),
        (["--align", "--face_detector", "sfd"], "sfd"),
    ]:
        result = dub(*arguments)
        assert (result.code, said in result.error) == (2, True), result.error
    assert list(tmp_path.iterdir()) == []


def test_ten_bits_colour_tags_and_title_are_carried_over(dub, tmp_path):
    with av.open(str(tmp_path / "hdr.mkv"), "w") as out:
        out.metadata["title"] = "Käse"
        stream = out.add_stream("libx265", rate=25, options={"x265-params": "log-level=error"})
        stream.height = stream.width = 512
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        for n in range(10):
            rgb = yuv.tag_defaults(av.VideoFrame.from_ndarray(portrait(), format="bgr24"))
            rgb.color_primaries = yuv.BT2020
            frame = yuv.to_format(rgb, "yuv420p10le")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert dub("--face", tmp_path / "hdr.mkv", *BOX, "--preview", 0.4).code == 0
    reader = VideoReader(tmp_path / "out.mp4")
    assert reader.pix_fmt == "yuv420p10le"
    _, picture = next(reader.pictures())
    tags = picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc
    assert tuple(map(int, tags)) == (9, 1, 9, 16)
    assert reader.metadata["title"] == "Käse"
    assert np.abs(next(reader.frames()).image.astype(int) - portrait())[200:].mean() < 4


def test_rotated_footage_comes_out_upright(dub, tmp_path):
    sideways = np.ascontiguousarray(np.rot90(portrait()[:, :400]))
    with av.open(str(tmp_path / "phone.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width = sideways.shape[:2]
        stream.set_display_rotation(-90)
        for n in range(5):
            frame = av.VideoFrame.from_ndarray(sideways, format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    upright = next(VideoReader(tmp_path / "phone.mp4").frames()).image
    assert dub("--face", tmp_path / "phone.mp4", "--preview", 0.2).code == 0
    ours = next(VideoReader(tmp_path / "out.mp4").frames()).image
    assert ours.shape == upright.shape
    assert np.abs(ours.astype(int) - upright)[200:].mean() < 3
    assert record_of(tmp_path / "out.mp4")["dubbed"] == 5


@pytest.mark.slow
def test_faces_of_a_video_seen_before_are_not_looked_for_again(dub, talking, tmp_path, monkeypatch):
    assert dub("--no_cache").code == 0
    monkeypatch.setenv("WAV2LIP_CACHE", str(tmp_path / "cache"))
    assert dub().code == 0
    assert record_of(tmp_path / "out.mp4")["faces"]["cached"] is False
    first = planes_of(tmp_path / "out.mp4")

    def never(*_):
        raise AssertionError("looked for faces")

    monkeypatch.setattr(RetinaFace, "detect", never)
    (tmp_path / "another name.mp4").write_bytes(talking.read_bytes())
    assert dub("--face", tmp_path / "another name.mp4").code == 0
    assert record_of(tmp_path / "out.mp4")["faces"]["cached"] is True
    second = planes_of(tmp_path / "out.mp4")
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    (kept,) = (tmp_path / "cache" / "faces").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="looked"):
        dub()


@pytest.mark.slow
def test_the_record_says_what_was_done_when_and_how_well(dub, generator, tmp_path):
    empty = np.full((512, 512, 3), 90, np.uint8)
    wav = read_audio(SPEECH, RATE)[: 3 * RATE]
    with VideoWriter(tmp_path / "mixed.mp4", Fraction(25)) as writer:
        for n, frame in enumerate(talking_frames(wav, 25)):
            picture = empty if 40 <= n < 60 or n == 30 else frame
            if n == 20:  # the eyes are hidden, the rest is there
                picture = frame.copy()
                picture[60:175, 180:270] = cv2.GaussianBlur(frame, (0, 0), 12)[60:175, 180:270]
            writer.write(picture, n / 25)
    soundfile.write(tmp_path / "three.wav", wav, RATE)
    assert dub("--face", tmp_path / "mixed.mp4", "--audio", tmp_path / "three.wav", "--report").code == 0
    record = record_of(tmp_path / "out.mp4")
    assert (record["dubbed"], record["interpolated"], record["unchanged"]) == (53, 1, 21)
    assert record["ranges"]["unchanged"] == [[1.2, 1.24], [1.6, 2.4]]
    assert record["ranges"]["interpolated"] == [[0.8, 0.84]]
    assert record["generator"]["sha256"] == hashlib.sha256(generator.read_bytes()).hexdigest()
    assert {"read", "generate", "composite", "encode", "faces"} <= record["busy"].keys()
    assert record["sync"]["scorer"].endswith("lipsync_expert_small.safetensors")
    assert [second["second"] for second in record["sync"]["seconds"]] == [0, 1]  # later the sound ends
    drawn = read_image(tmp_path / "out.mp4.png")
    width = images.LABEL_WIDTH + 6 * 240  # two of the eight times show no face
    assert drawn.shape == (images.HEAD_HEIGHT + 3 * 240, width, 3)
    rows = drawn[images.HEAD_HEIGHT :]
    source, result, difference = (images.pictures_of(rows, 3, row).astype(int) for row in range(3))
    assert np.abs(source - result).max() > 40
    assert difference[150:].max() > 100
    assert difference[:80].max() < 30  # above the mouth nothing differs


def test_speech_shorter_than_the_video_may_leave_the_rest_as_it_was(dub, talking, speech, tmp_path):
    assert dub(*BOX, "--keep_length", "--codec", "ffv1", "--outfile", tmp_path / "out.mkv").code == 0
    ours, theirs = planes_of(tmp_path / "out.mkv"), planes_of(talking)
    assert len(ours) == len(theirs) == 50
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(ours[25:], theirs[25:], strict=True))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(ours[:25], theirs[:25], strict=True))
    assert record_of(tmp_path / "out.mkv")["unchanged"] == 25


def test_jobs_fail_alone_and_share_the_networks(script, generator, talking, speech, tmp_path, monkeypatch):
    mute = encode(tmp_path / "no face.mp4", "libx264")
    rows = [
        {"face": str(talking), "audio": str(speech), "outfile": str(tmp_path / "1 é.mp4"), "box": [57, 177, 178, 273]},
        {"face": str(mute), "audio": str(speech), "outfile": str(tmp_path / "2.mp4")},
        {"face": str(talking), "audio": str(speech), "pads": [0, 20, 0, 0], "report": True},
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(rows), encoding="utf-8")
    loads = []
    real = dubber.load_networks
    monkeypatch.setattr(dubber, "load_networks", lambda options: loads.append(1) or real(options))
    common = ["--checkpoint_path", generator, "--outfile", tmp_path / "folder", "--preview", 0.4]
    result = script("inference", *common, "--jobs", tmp_path / "jobs.json")
    assert result.code == 1
    assert loads == [1]
    assert "job 2: " in result.error
    assert "no face found" in result.error
    assert (tmp_path / "1 é.mp4").exists()
    assert not (tmp_path / "2.mp4").exists()
    assert (tmp_path / "folder" / "talking head_a speech.mp4.png").exists()

    table = f'face,audio,outfile,box\n"{talking}","{speech}",{tmp_path / "3.mp4"},57 177 178 273\n'
    (tmp_path / "jobs.csv").write_text(table, encoding="utf-8")
    assert script("inference", *common, "--jobs", tmp_path / "jobs.csv").code == 0
    assert (tmp_path / "3.mp4").exists()
    for name, content, said in [
        ("empty.csv", "face,audio\n", "give rows"),
        ("short.csv", "face\nx\n", "has the columns face; give a first line that names audio too"),
        ("broken.json", "[1", "is no CSV or JSON"),
    ]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        bad = script("inference", *common, "--jobs", tmp_path / name)
        assert (bad.code, said in bad.error) == (2, True), bad.error
