"""Frames of a video are replaced; all packets outside stay byte for byte."""

from fractions import Fraction

import av
import numpy as np
import pytest

from footage import click_track, encode, number_of, numbered
from media import codecs, writer, yuv
from media.clock import picture_stream
from media.reader import VideoReader
from media.splice import FrameReplacement, PacketIndex
from media.writer import VideoWriter
from utils.errors import InputError

FRAMES, RATE = 40, Fraction(25)
NEW = range(14, 19)
WHITE = np.full((120, 160, 3), 250, np.uint8)


def packets_of(path, kind="video") -> list:
    with av.open(str(path)) as container:
        stream = picture_stream(container) if kind == "video" else container.streams.audio[0]
        return [packet for packet in container.demux(stream) if packet.size]


def pictures_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.fixture
def sound(tmp_path):
    return encode(tmp_path / "sound.mp4", "libx264", frames=10, sound=click_track(1.6, 0.5))


def written(path, codec: str, monkeypatch, sound=None, seconds: float = 1.0):
    """Numbered pictures with a key frame every second."""
    monkeypatch.setattr(writer, "KEY_SECONDS", seconds)
    encoding = codecs.choose(codec, path.suffix)
    with VideoWriter(path, RATE, sound, encoding=encoding) as out:
        for n in range(FRAMES):
            out.write(numbered(n), n / 25)
    return encoding


def replace(path, earlier, encoding, frames=NEW, late: float = 0.0) -> FrameReplacement:
    replacement = FrameReplacement(path, earlier, PacketIndex.of(earlier), frames, RATE, encoding=encoding)
    with replacement as out:
        for n in frames:
            out.write_picture(yuv.from_bgr(WHITE, encoding.pix_fmt), n / 25 + late)
    return replacement


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.mkv", "h264"), ("a b'ü.mov", "hevc"), ("a.webm", "vp9"), ("a.mkv", "ffv1"),
     ("a.mov", "prores"), ("a.mp4", "av1")],
)  # fmt: skip
def test_frames_change_and_packets_outside_them_stay_byte_for_byte(tmp_path, monkeypatch, sound, name, codec):
    earlier, out = tmp_path / name, tmp_path / f"new {name}"
    encoding = written(earlier, codec, monkeypatch, sound)
    encoded = replace(out, earlier, encoding).encoded
    assert 9 <= encoded.start <= NEW.start and NEW.stop <= encoded.stop <= 25
    before, after = packets_of(earlier), packets_of(out)
    assert [packet.dts for packet in after] == [packet.dts for packet in before]
    assert sorted(packet.pts for packet in after) == sorted(packet.pts for packet in before)
    same = [bytes(old) == bytes(new) for old, new in zip(before, after, strict=True)]
    assert all(same[n] for n in range(FRAMES) if n not in encoded)
    assert not any(same[n] for n in NEW)
    assert list(map(bytes, packets_of(out, "audio"))) == list(map(bytes, packets_of(earlier, "audio")))
    old, new = pictures_of(earlier), pictures_of(out)
    assert len(new) == FRAMES
    for n in range(FRAMES):
        if n in NEW:
            assert np.abs(new[n].astype(int) - WHITE).mean() < 4
        elif n in encoded:
            assert number_of(new[n]) == n % 40
            assert np.abs(new[n].astype(int) - old[n]).mean() < 4
        else:
            assert np.array_equal(new[n], old[n])
    assert {path.name for path in tmp_path.iterdir()} == {"sound.mp4", name, f"new {name}"}


def test_a_video_is_replaced_in_place_from_its_first_frame_to_its_last(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    encoding = written(path, "h264", monkeypatch)
    assert replace(path, path, encoding, range(FRAMES)).encoded == range(FRAMES)
    assert [frame.mean() > 245 for frame in pictures_of(path)] == [True] * FRAMES
    times = [time for time, _ in VideoReader(path).pictures()]
    assert times == pytest.approx([n / 25 for n in range(FRAMES)])


def test_what_does_not_fit_leaves_the_video_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    encoding = written(path, "h264", monkeypatch)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.mp4: shows a frame at 0\.560 s that is now at 0\.580 s"):
        replace(path, path, encoding, late=0.02)
    with pytest.raises(InputError, match=r"a\.mp4: cannot be spliced with what its encoder makes today"):
        replace(path, path, codecs.choose("hevc", ".mp4"))
    with pytest.raises(RuntimeError), FrameReplacement(path, path, PacketIndex.of(path), NEW, RATE):
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def index_of(pts: list[int], keys: list[int]) -> PacketIndex:
    return PacketIndex(np.array(pts), np.isin(np.arange(len(pts)), keys), Fraction(1, 25))


def test_encoding_begins_where_packets_can_be_cut_off_and_ends_where_decoding_can_begin():
    index = index_of([0, 4, 2, 1, 3, 8, 6, 5, 7, 9, 12, 11, 10], keys=[0, 9])
    assert index.encoded_again(range(4, 6)) == range(1, 9)  # frame 4 was decoded before 1, 2 and 3
    assert index.encoded_again(range(5, 6)) == range(5, 9)
    assert index.encoded_again(range(10, 11)) == range(10, 13)
    assert (index.key_before(5), index.key_before(10)) == (0, 9)


def test_a_key_frame_with_earlier_frames_behind_it_is_no_place_to_begin():
    index = index_of([0, 1, 2, 5, 3, 4, 6, 7], keys=[0, 3, 6])  # an open group of pictures
    assert index.encoded_again(range(1, 2)) == range(1, 6)
