"""Colours, alpha and levels of light between a source and the file that is written of it, whatever is dubbed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dubbing.options import Options
from dubbing.source import Source
from footage import film
from media import yuv
from media.reader import VideoReader
from media.writer import VideoWriter

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
