"""One reader and one writer for every kind of file; display matrices, fields and still pictures."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageCms

from footage import click_track, encode, film, number_of, numbered
from media import yuv
from media.reader import VideoReader, open_still
from media.sound import read_audio
from media.writer import VideoWriter
from utils.errors import InputError

FIXED = 65536  # 1 in a display matrix
MATRICES = [(-1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, -1, 0)]
CORNER_AFTER_EXIF = {  # where the stored top left corner is shown, by EXIF orientation
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("top", "left"), 6: ("top", "right"), 7: ("bottom", "right"), 8: ("bottom", "left"),
}  # fmt: skip


def seen_at(image, x, y):
    """The colour at x, y, counted from the middle of the picture in halves of its sides."""
    rows, columns = image.shape[:2]
    return image[int((y + 1) / 2 * (rows - 1)), int((x + 1) / 2 * (columns - 1))].astype(int)


@pytest.mark.parametrize(("a", "b", "c", "d"), MATRICES)
def test_pictures_are_shown_as_the_display_matrix_says(tmp_path, a, b, c, d):
    matrix = [value * FIXED for value in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    reader = VideoReader(film(tmp_path / "a.mp4", "libx264", [numbered(3)] * 3, "yuv420p", matrix=matrix))
    image = next(reader.frames()).image
    assert image.shape[:2] == (reader.height, reader.width) == ((120, 160) if a else (160, 120))
    for x, y in ((-0.9, -0.9), (0.9, -0.9), (-0.9, 0.9), (0.9, 0.9)):
        expected = seen_at(numbered(3), x, y)
        assert np.abs(seen_at(image, a * x + c * y, b * x + d * y) - expected).max() < 12
    assert ("mirrored" in reader.findings) == (a * d - b * c < 0)
    assert ("rotated" in reader.findings) == (b != 0 or (a, d) == (-1, -1))


def test_pictures_are_cropped_to_the_clean_aperture(tmp_path):
    content = film(tmp_path / "a.mp4", "libx264", [numbered(3)] * 3, "yuv420p").read_bytes()
    clean = struct.pack(">I4s8I", 40, b"clap", 100, 1, 80, 1, 20, 1, (1 << 32) - 10, 1)  # right of the middle, above it
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = content.rindex(box) - 4  # avc1 is also in the first box
        size = struct.pack(">I", struct.unpack(">I", content[place : place + 4])[0] + len(clean))
        content = content[:place] + size + content[place + 4 :]
    place = content.index(b"avcC") - 4
    (tmp_path / "a.mp4").write_bytes(content[:place] + clean + content[place:])
    reader = VideoReader(tmp_path / "a.mp4")
    *_, last = reader.frames()
    assert (last.image.shape, reader.findings) == ((80, 100, 3), ["cropped to 100x80"])
    assert np.abs(last.image.astype(int) - numbered(3)[10:90, 50:150])[:, 35:].max() < 12


def woven(x: int) -> np.ndarray:
    """A frame of two fields, the lower one first, between which a bar has moved from x to x + 10."""
    frame = np.full((576, 720, 3), 40, np.uint8)
    frame[1::2, x : x + 40] = 220
    frame[::2, x + 10 : x + 50] = 220
    return frame


def combs(image: np.ndarray) -> float:
    """How much neighbouring rows differ."""
    return float(np.abs(np.diff(image[40:-40, :, 1].astype(int), axis=0)).mean())


def test_interlaced_footage_is_read_without_combs(tmp_path):
    images, options = [woven(100 + 20 * n) for n in range(4)], {"x264-params": "bff=1", "crf": "15"}
    path = film(tmp_path / "a.mkv", "libx264", images, "yuv420p", options=options, field="bff")
    by_frame, by_field, off = (VideoReader(path, deinterlace=how) for how in ("frame", "field", "off"))
    frames, fields, stored = (list(reader.frames()) for reader in (by_frame, by_field, off))
    assert (len(frames), len(fields), len(stored)) == (4, 8, 4)
    assert (by_frame.rate, by_field.rate, off.rate) == (25, 50, 25)
    assert combs(stored[1].image) > 3
    assert max(combs(frame.image) for frame in frames[1:-1] + fields[2:-2]) < 0.3 * combs(stored[1].image)
    bars = [np.median(np.flatnonzero(frame.image[288, :, 1] > 130)) for frame in fields[2:-2]]
    assert np.allclose(np.diff(bars), 10, atol=2)  # in the order in which they were filmed
    assert np.allclose(np.diff([frame.time for frame in fields]), 0.02, atol=2e-3)
    assert by_frame.findings == by_field.findings == ["deinterlaced"]
    assert off.findings == ["interlaced"]


def of_values(path, values, **tags):
    """A lossless video of one colour, whose three planes have these values."""
    with av.open(str(path), "w") as out:
        stream, picture = out.add_stream("ffv1", rate=25), av.VideoFrame(96, 96, "yuv444p")
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv444p"
        for plane, value in zip(yuv.planes(picture), values, strict=True):
            plane[:] = value
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(picture, name, value)
        out.mux([*stream.encode(picture), *stream.encode(None)])
    return path


def test_colours_in_other_matrices_are_converted_or_refused(tmp_path):
    ycgco = 140, 128 + 20, 128 - 80  # of red 40, green 160, blue 200
    path = of_values(tmp_path / "a.mkv", ycgco, colorspace=yuv.YCGCO, color_range=yuv.FULL_RANGE)
    assert np.abs(next(VideoReader(path).frames()).image.astype(int) - (200, 160, 40)).max() <= 2
    path = of_values(tmp_path / "a.mkv", (100, 110, 120), colorspace=14)
    with pytest.raises(InputError, match=r"a\.mkv: has colours in ICtCp"):
        VideoReader(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stills_are_upright_by_their_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = ("JPEG", "PNG", "WEBP", "TIFF")[orientation % 4]
    Image.fromarray(numbered(3)[..., ::-1]).save(tmp_path / "picture", kind, exif=exif)  # told by what it holds
    still = open_still(tmp_path / "picture")
    image = yuv.to_bgr(still.picture)
    assert image.shape[:2] == ((160, 120) if orientation > 4 else (120, 160))
    rows, columns = CORNER_AFTER_EXIF[orientation]
    white = image[:12] if rows == "top" else image[-12:]
    assert (white[:, :12] if columns == "left" else white[:, -12:]).mean() > 240
    assert ("mirrored" in still.findings) == (orientation in (2, 4, 5, 7))
    assert ("rotated" in still.findings) == (orientation in (3, 5, 6, 7, 8))


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "a.avif"])
def test_a_file_of_one_picture_is_a_still_and_what_moves_is_a_video(tmp_path, name):
    images = [Image.fromarray(numbered(2 * n)[..., ::-1]) for n in range(4)]
    kind = name.rpartition(".")[2].upper()
    images[0].save(tmp_path / name, kind, quality=95)
    assert number_of(yuv.to_bgr(open_still(tmp_path / name).picture)) == 0
    images[0].save(tmp_path / name, kind, save_all=True, append_images=images[1:], duration=100, quality=95)
    assert open_still(tmp_path / name) is None
    frames = list(VideoReader(tmp_path / name).frames())
    assert [number_of(frame.image) for frame in frames] == [0, 2, 4, 6]
    assert np.allclose([frame.time for frame in frames], [0, 0.1, 0.2, 0.3], atol=1e-3)


def test_the_colours_of_a_picture_are_those_of_its_profile(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exchanged = profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")  # red and blue
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    for content, expected, findings in (
        (exchanged, (50, 100, 200), ["colour profile applied"]),
        (b"no profile", (200, 100, 50), ["colour profile not understood"]),
    ):
        image.save(tmp_path / "a.png", icc_profile=content)
        still = open_still(tmp_path / "a.png")
        assert np.abs(still.picture.to_ndarray()[9, 9].astype(int) - expected).max() <= 2
        assert still.findings == findings


def test_one_of_several_videos_in_a_file_is_chosen(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = [out.add_stream("ffv1", rate=25) for _ in range(3)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            stream.disposition = av.stream.Disposition.default if number == 1 else av.stream.Disposition(0)
        for number, stream in enumerate(streams):
            picture = av.VideoFrame.from_ndarray(numbered(5 * number), format="bgr24")
            out.mux([*stream.encode(picture), *stream.encode(None)])
    readers = [VideoReader(tmp_path / "a.mkv", video_stream=number) for number in (None, 0, 2)]
    assert [number_of(next(reader.frames()).image) for reader in readers] == [5, 0, 10]
    assert [len(reader.findings) for reader in readers] == [1, 0, 0]
    with pytest.raises(InputError, match=r"a\.mkv: has no video stream 3; it has 3"):
        VideoReader(tmp_path / "a.mkv", video_stream=3)


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


def test_written_video_keeps_time_stamps_colours_and_sound_and_has_even_sizes(tmp_path):
    close = [0.0, 1e-6, 2e-6, 0.04, 0.04, 0.08]  # seconds, some closer than the time base
    frames = list(VideoReader(write(tmp_path / "odd.mp4", close, size=(161, 121))).frames())
    assert {frame.image.shape for frame in frames} == {(122, 162, 3)}
    assert np.allclose([frame.time for frame in frames], close, atol=1e-3)
    assert (np.diff([frame.time for frame in frames]) > 0).all()

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
