"""Dubs carry a tag; what is there and carries none is not replaced unasked."""

import errno
import hashlib
import json
import os
import stat
import sys
from fractions import Fraction

import av
import pytest

from dubbing import dubber, networks
from footage import encode, numbered
from media import codecs
from media.files import DUB_TAG, is_dub
from media.reader import VideoReader
from media.writer import VideoWriter

BOX = ["--box", 57, 177, 178, 273, "--preview", 0.12, "--no_score"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
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
    for content in (talking.read_bytes(), b"a text"):
        path.write_bytes(content)
        result = dub(*BOX)
        assert result.code == 2
        assert f"--outfile {path}: exists and is not by this program" in result.error
        assert path.read_bytes() == content
    assert dub(*BOX, "--overwrite").code == 0
    assert is_dub(path)
    path.write_bytes(b"")  # as programs make one that want a file of this name
    assert dub(*BOX).code == 0


def test_another_program_s_json_beside_the_dub_is_not_replaced(dub, tmp_path):
    beside = tmp_path / "out.mp4.json"
    beside.write_text('{"mine": 1}', encoding="utf-8")
    result = dub(*BOX)
    assert result.code == 2
    assert "out.mp4.json: exists and is not by this program" in result.error
    assert beside.read_text(encoding="utf-8") == '{"mine": 1}'


def test_without_a_name_a_hint_says_how_to_give_one(script, generator, talking, speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--checkpoint_path", generator, "--face", talking, "--audio", speech, *BOX]
    result = script("inference", *flags)
    assert result.code == 0
    assert (tmp_path / "results" / "result_voice.mp4").exists()
    assert "--outfile" in result.out.splitlines()[-1]
    assert "--outfile" not in script("inference", *flags, "--outfile", "named.mp4").out


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_results_have_the_mode_that_the_user_s_mask_gives(dub, tmp_path):
    before = os.umask(0o027)
    try:
        assert dub(*BOX, "--report").code == 0
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes) >= {"out.mp4", "out.mp4.json"}
    assert set(modes.values()) == {0o640}


def test_without_room_for_its_record_no_video_is_left_and_the_earlier_dub_stays(dub, tmp_path, monkeypatch):
    assert dub(*BOX).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    record = json.loads(before["out.mp4.json"])
    assert record["video_sha256"] == hashlib.sha256(before["out.mp4"]).hexdigest()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(dubber, "write_json", full)
    result = dub(*BOX)
    assert (result.code, result.error) == (2, f"error: {tmp_path / 'out.mp4.json'}: No space left on device")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("length", [250, 251])
def test_a_long_name_is_written_or_refused_at_once(dub, tmp_path, monkeypatch, length):
    path = tmp_path / f"{'a' * (length - 4)}.mp4"
    if length > 250:  # its record could not be written
        monkeypatch.setattr(networks, "load_networks", None)
    result = dub(*BOX, "--outfile", path, "--overwrite")
    assert result.code == (0 if length <= 250 else 2), result.err
    assert path.exists() == (length <= 250)
    assert (f"--outfile {path}.json: cannot be written" in result.error) == (length > 250)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are no UTF-8")
def test_names_may_be_of_any_bytes(dub, talking, tmp_path):
    face, folder = tmp_path / "\udcff \n.mp4", tmp_path / "\udcfe\u2028"
    face.write_bytes(talking.read_bytes())
    assert dub(*BOX, "--face", face, "--outfile", folder / "a\udcff.mp4", "--report").code == 0
    assert json.loads((folder / "a\udcff.mp4.json").read_text())["face"] == str(face)
    assert {path.name for path in folder.iterdir()} == {f"a\udcff.mp4{end}" for end in ("", ".json", ".png", ".html")}
