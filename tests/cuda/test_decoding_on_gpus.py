"""Videos decoded by a GPU are those that are decoded in software."""

import av
import pytest

from footage import encode
from gpus import needs_gpus
from media import hardware, reader
from media.reader import VideoReader
from utils.errors import InputError

FORMATS = [("h264.mp4", "libx264", "yuv420p"), ("hevc 10 bit.mkv", "libx265", "yuv420p10le")]


def planes(video: VideoReader) -> list[tuple[float, str, bytes]]:
    return [(time, picture.format.name, picture.to_ndarray().tobytes()) for time, picture in video.pictures()]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), FORMATS)
def test_interleaved_planes_of_a_gpu_become_those_of_the_file(tmp_path, monkeypatch, name, codec, pix_fmt):
    path = encode(tmp_path / name, codec, pix_fmt=pix_fmt, size=(320, 240))
    expected = planes(VideoReader(path))
    interleaved, decode = {planar: name for name, planar in hardware.PLANAR.items()}[pix_fmt], reader.decode
    monkeypatch.setattr(reader, "decode", lambda *a: (f.reformat(format=interleaved) for f in decode(*a)))
    found = planes(VideoReader(path))
    assert len(found) == 20
    assert found == expected


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [pytest.param(*values, marks=needs_gpus()) for values in (*FORMATS, ("odd.mov", "libx264", "yuv444p"))],
)
def test_a_gpu_decodes_what_it_can_to_the_bit_and_leaves_the_rest_to_software(tmp_path, name, codec, pix_fmt):
    path = encode(tmp_path / name, codec, pix_fmt=pix_fmt, size=(320, 240))
    try:
        on_gpu = VideoReader(path, decoder="cuda")
    except InputError:
        pytest.skip("a GPU without a decoder, or a driver without it")
    assert planes(on_gpu) == planes(VideoReader(path))


def test_a_decoder_that_is_not_here_is_one_line(dub, monkeypatch, tmp_path):
    class Refused:
        def __init__(self, name):
            pass

        def create(self, codec):
            raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(hardware, "HWAccel", Refused)
    result = dub("--decoder", "cuda")
    assert (result.code, result.error.count("\n")) == (2, 0)
    assert result.error.startswith("error: --decoder cuda: does not work here (")
    assert result.error.endswith("; use software")
    assert not (tmp_path / "out.mp4").exists()
