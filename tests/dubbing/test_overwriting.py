"""Dubs carry a tag; what is there and carries none is not replaced unasked."""

import errno
import hashlib
import json
from fractions import Fraction

import av
import pytest

from dubbing import dubber
from footage import BOX, encode, numbered
from media import codecs
from media.files import DUB_TAG, is_dub
from media.reader import VideoReader
from media.writer import VideoWriter

SHORT = [*BOX, "--preview", 0.12, "--no_score"]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_the_tag_is_in_the_metadata_of_every_container_behind_the_source_s_own_comment(tmp_path, name):
    source = tmp_path / "source.mkv"
    with av.open(str(encode(tmp_path / "b.mkv", "libx264", frames=3))) as container, av.open(str(source), "w") as out:
        out.metadata.update({"COMMENT": "take 3", "title": "a talk"})
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert not is_dub(source)
    reader, path = VideoReader(source), tmp_path / name
    for _ in range(2):  # a dub of the dub has one tag, too
        encoding = codecs.choose("auto", path.suffix)
        with VideoWriter(path, Fraction(25), like=reader, encoding=encoding, dubbed=True) as writer:
            writer.write(numbered(0), 0.0)
        assert is_dub(path)
        reader = VideoReader(path)
        metadata = {key.lower(): text for key, text in reader.metadata.items()}
        assert (metadata["comment"], metadata["title"]) == (f"take 3; {DUB_TAG}", "a talk")


def test_a_file_that_is_no_dub_is_replaced_only_when_asked(dub, talking, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(talking.read_bytes())
    result = dub(*SHORT)
    assert (result.code, f"--outfile {path}: exists" in result.error) == (2, True)
    assert path.read_bytes() == talking.read_bytes()
    assert dub(*SHORT, "--overwrite").code == 0
    assert is_dub(path)
    path.unlink()
    beside = tmp_path / "out.mp4.json"
    beside.write_text('{"mine": 1}', encoding="utf-8")
    result = dub(*SHORT)
    assert result.code == 2
    assert "out.mp4.json: exists and is not by this program" in result.error
    assert beside.read_text(encoding="utf-8") == '{"mine": 1}'


def test_without_room_for_its_record_no_video_is_left_and_the_earlier_dub_stays(dub, tmp_path, monkeypatch):
    assert dub(*SHORT).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    record = json.loads(before["out.mp4.json"])
    assert record["video_sha256"] == hashlib.sha256(before["out.mp4"]).hexdigest()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(dubber, "write_json", full)
    result = dub(*SHORT)
    assert (result.code, result.error) == (2, f"error: {tmp_path / 'out.mp4.json'}: No space left on device")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
