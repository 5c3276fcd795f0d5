"""What the reader makes of display matrices, fields and still pictures."""

import struct
import zlib
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from footage import encode, film, number_of, numbered
from media import pictures, yuv
from media.clock import picture_streams
from media.codecs import hdr_metadata
from media.pictures import open_still
from media.reader import VideoReader
from utils.errors import InputError

FIXED = 65536  # 1 in a display matrix
MATRICES = [
    (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
    (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0),
]  # fmt: skip
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
    shapes = [plane.shape for plane in yuv.planes(next(reader.pictures())[1])]  # in memory from top to bottom
    assert shapes == [image.shape[:2]] + 2 * [(image.shape[0] // 2, image.shape[1] // 2)]
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
    assert (last.image.shape, reader.width, reader.height) == ((80, 100, 3), 100, 80)
    assert np.abs(last.image.astype(int) - numbered(3)[10:90, 50:150])[:, 35:].max() < 12
    assert reader.findings == ["cropped to 100x80"]


def woven(x: int, first: int) -> np.ndarray:
    """A frame of two fields between which a bar has moved from x to x + 10; first: the row that the earlier has."""
    fields = [np.full((576, 720, 3), 40, np.uint8) for _ in range(2)]
    for number, field in enumerate(fields):
        field[:, x + 10 * number : x + 10 * number + 40] = 220
    frame = fields[0].copy()
    frame[1 - first :: 2] = fields[1][1 - first :: 2]
    return frame


def combs(image: np.ndarray) -> float:
    """How much neighbouring rows differ."""
    return float(np.abs(np.diff(image[40:-40, :, 1].astype(int), axis=0)).mean())


INTERLACED = [
    ("bff.mkv", "libx264", "yuv420p", {"x264-params": "bff=1", "crf": "15"}, "bff"),
    ("camcorder.avi", "dvvideo", "yuv420p", {}, "bff"),
    ("studio.mov", "prores_ks", "yuv422p10le", {"flags": "+ildct"}, "tff"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "options", "field"), INTERLACED)
def test_interlaced_footage_is_read_without_combs(tmp_path, name, codec, pix_fmt, options, field):
    images = [woven(100 + 20 * n, int(field == "bff")) for n in range(4)]
    film(tmp_path / name, codec, images, pix_fmt, options=options, field=field)
    by_frame, by_field, off = (VideoReader(tmp_path / name, deinterlace=how) for how in ("frame", "field", "off"))
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


def test_progressive_footage_passes_to_the_bit(tmp_path):
    film(tmp_path / "a.mkv", "ffv1", [numbered(n) for n in range(5)], "yuv420p")
    plain, other = VideoReader(tmp_path / "a.mkv"), VideoReader(tmp_path / "a.mkv", deinterlace="off")
    for (_, ours), (_, stored) in zip(plain.pictures(), other.pictures(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(yuv.planes(ours), yuv.planes(stored), strict=True))
    assert plain.findings == []


def test_pictures_whose_size_changes_keep_their_proportions(tmp_path):
    parts = [encode(tmp_path / f"{n}.ts", "libx264", 10, size=size) for n, size in enumerate([(160, 120), (60, 120)])]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    reader = VideoReader(tmp_path / "a.ts")
    *_, last = reader.frames()
    bars, face = np.split(last.image, [48], axis=1)
    assert last.image.shape == (120, 160, 3)
    assert bars[:, :45].max() <= 2
    assert face[:20, 4:20].mean() > 240  # the white corner, 24 pixels wide as it was
    assert face[:20, 28:].max() < 200
    assert "size changes to 60x120 on the way" in reader.findings


GREEN_BLUE = np.full((96, 96, 3), (200, 160, 40), np.uint8)  # BGR


def of_values(path, pix_fmt: str, values, **tags):
    """A lossless video of one colour, whose planes have these values."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt = pix_fmt
        picture = av.VideoFrame(96, 96, pix_fmt)
        for plane, value in zip(yuv.planes(picture), values, strict=True):
            plane[:] = value
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(picture, name, value)
        out.mux([*stream.encode(picture), *stream.encode(None)])
    return path


def test_colours_in_other_matrices_are_converted_or_refused(tmp_path):
    ycgco = 140, 128 + 20, 128 - 80  # of red 40, green 160, blue 200
    path = of_values(tmp_path / "a.mkv", "yuv444p", ycgco, colorspace=yuv.YCGCO, color_range=yuv.FULL_RANGE)
    assert np.abs(next(VideoReader(path).frames()).image.astype(int) - GREEN_BLUE).max() <= 2
    usual = yuv.planes(yuv.from_bgr(GREEN_BLUE, "yuv444p"))
    for matrix in (yuv.RESERVED, yuv.BY_PRIMARIES):
        path = of_values(tmp_path / "a.mkv", "yuv444p", [plane[0, 0] for plane in usual], colorspace=matrix)
        assert np.abs(next(VideoReader(path).frames()).image.astype(int) - GREEN_BLUE).max() < 12
    path = of_values(tmp_path / "a.mkv", "yuv444p", (100, 110, 120), colorspace=14)
    with pytest.raises(InputError, match=r"a\.mkv: has colours in ICtCp"):
        VideoReader(path)


def test_grey_with_alpha_is_composited(tmp_path):
    image = np.full((96, 96, 4), 200, np.uint8)
    image[:48, :, 3], image[48:, :, 3] = 0, 255
    path = film(tmp_path / "a.mov", "png", [image] * 2, "ya8")
    shown = next(VideoReader(path).frames()).image
    assert (shown[10, 10].tolist(), shown[80, 80].tolist()) == ([0] * 3, [200] * 3)


def test_telecined_film_is_noted(tmp_path):
    random = np.random.default_rng(0)
    film_frames = [np.repeat(random.integers(0, 255, (96, 128, 1), np.uint8), 3, axis=2) for _ in range(52)]
    shown = [film_frames[n] for four in range(13) for n in np.repeat(np.arange(4) + 4 * four, (2, 3, 2, 3))]
    images = []
    for top, bottom in zip(shown[::2], shown[1::2], strict=True):
        images.append(top.copy())
        images[-1][1::2] = bottom[1::2]
    options = {"flags": "+ildct+ilme", "b": "20M"}
    film(tmp_path / "a.mpg", "mpeg2video", images, "yuv420p", fps=30, field="tff", options=options)
    reader = VideoReader(tmp_path / "a.mpg")
    list(reader.pictures())
    assert reader.findings == ["deinterlaced", "telecined"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stills_are_upright_by_their_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = ("JPEG", "PNG", "WEBP", "TIFF")[orientation % 4]
    Image.fromarray(numbered(3)[..., ::-1]).save(tmp_path / "picture", kind, exif=exif)  # told by what it holds
    still = open_still(tmp_path / "picture")
    image = yuv.to_bgr(still.picture)
    assert number_of(image) == 3 or orientation > 1
    assert image.shape[:2] == ((160, 120) if orientation > 4 else (120, 160))
    rows, columns = CORNER_AFTER_EXIF[orientation]
    white = image[:12] if rows == "top" else image[-12:]
    assert (white[:, :12] if columns == "left" else white[:, -12:]).mean() > 240
    assert ("mirrored" in still.findings) == (orientation in (2, 4, 5, 7))
    assert ("rotated" in still.findings) == (orientation in (3, 5, 6, 7, 8))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif", "a.avif"])
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


def with_text_bomb(png: bytes) -> bytes:
    """A PNG with compressed text of 70 MB before its pixels."""
    content = b"zTXtComment\0\0" + zlib.compress(bytes(70_000_000))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk + png[place:]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("PNG", lambda data: data[:200]),
        ("PNG", with_text_bomb),
        ("JPEG", lambda data: data[:60]),
        ("WEBP", lambda data: data[:40] + bytes(40)),
        ("BMP", lambda data: data[:30] + b"\xa9" + data[31:]),
        ("AVIF", lambda data: data[: data.index(b"mdat") + 4] + bytes(400)),
    ],
)
def test_a_damaged_picture_is_refused_by_name(tmp_path, kind, damage):
    Image.fromarray(numbered(3)).save(tmp_path / "whole", kind)
    (tmp_path / "bad.png").write_bytes(damage((tmp_path / "whole").read_bytes()))
    with pytest.raises(InputError, match=r"bad\.png: is damaged or truncated"):
        open_still(tmp_path / "bad.png")


def test_a_damaged_animation_is_refused_by_name(tmp_path):
    images = [Image.fromarray(numbered(n)) for n in range(3)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=40)
    (tmp_path / "a.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:-400] + bytes(400))
    with pytest.raises(InputError, match=r"a\.webp: is damaged or truncated"):
        list(VideoReader(tmp_path / "a.webp").frames())


def profile_with_red_and_blue_exchanged() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_the_colours_of_a_picture_are_those_of_its_profile(tmp_path, mode):
    image = Image.new("RGB", (64, 64), (200, 100, 50)).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=profile_with_red_and_blue_exchanged())
    image.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    image.save(tmp_path / "odd.png", icc_profile=b"no profile")
    as_stored = np.array(image.convert("RGB"))[9, 9]
    for name, expected, findings in (
        ("a.png", as_stored[::-1], ["colour profile applied"]),
        ("srgb.png", as_stored, []),
        ("odd.png", as_stored, ["colour profile not understood"]),
    ):
        still = open_still(tmp_path / name)
        assert np.abs(still.picture.to_ndarray()[9, 9].astype(int) - expected).max() <= 2
        assert still.findings == findings


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_huge_picture_is_read_smaller(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(pictures, "LARGE", 8000)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2000)
    Image.fromarray(numbered(3)[..., ::-1]).save(tmp_path / f"a.{suffix}")
    still = open_still(tmp_path / f"a.{suffix}")
    assert (still.width, still.height, still.findings) == (40, 30, ["reduced to 40x30"])
    assert number_of(yuv.to_bgr(still.picture)) == 3


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


def test_a_tile_of_a_picture_is_no_video():
    tile, cover, video = (
        SimpleNamespace(disposition=getattr(av.stream.Disposition, name))
        for name in ("dependent", "attached_pic", "default")
    )
    assert picture_streams(SimpleNamespace(streams=SimpleNamespace(video=[tile, cover, video]))) == [video]


def test_layers_that_cannot_be_handed_on_are_noted():
    findings: list[str] = []
    assert (
        hdr_metadata(SimpleNamespace(side_data={"DOVI_RPU_BUFFER": b"\1", "DYNAMIC_HDR_PLUS": b"\1"}), findings) is None
    )
    assert findings == ["Dolby Vision layer lost", "HDR10+ data lost"]
