"""--redo makes some seconds of a dub again and leaves all packets outside as they are."""

import io
import json
from types import SimpleNamespace

import av
import numpy as np
import pytest

import inference
from media.reader import VideoReader
from media.sound import read_audio

BOX = ["--box", 57, 177, 178, 273]


@pytest.fixture(autouse=True)
def short_groups(monkeypatch) -> None:
    monkeypatch.setattr("media.writer.KEY_SECONDS", 0.32)  # eight frames


def record_of(path) -> dict:
    return json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))


def packets(path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def lumas(path) -> list[np.ndarray]:
    return [picture.to_ndarray(format="gray") for _, picture in VideoReader(path).pictures()]


def redo(script, *arguments):
    return script("inference", "--redo", *arguments)


@pytest.mark.parametrize("name", ["a dub.mp4", "dub.mkv"])
def test_seconds_are_made_again_with_other_settings_and_the_rest_stays_bit_for_bit(dub, script, tmp_path, name):
    path = tmp_path / name
    assert dub(*BOX, "--no_score", "--outfile", path).code == 0
    kept, before, record = path.read_bytes(), lumas(path), record_of(path)
    result = redo(script, "0.2-0.4", "--outfile", path, "--paste", "box")
    assert result.code == 0, result.error
    assert "made again: 0.20 to 0.40 s; encoded again: " in result.out
    (tmp_path / "earlier").with_suffix(path.suffix).write_bytes(kept)
    earlier = (tmp_path / "earlier").with_suffix(path.suffix)
    times = [time for time, _ in VideoReader(path).pictures()]
    assert times == [time for time, _ in VideoReader(earlier).pictures()]
    same = [old == new for old, new in zip(packets(earlier, "video"), packets(path, "video"), strict=True)]
    assert not any(same[5:10])
    assert all(same[:2]) and all(same[16:])
    assert packets(path, "audio") == packets(earlier, "audio")
    assert np.array_equal(read_audio(path, 16_000), read_audio(earlier, 16_000))
    brows = [np.abs(new.astype(int) - old)[60:80, 190:260].mean() for new, old in zip(lumas(path), before, strict=True)]
    assert min(brows[5:10]) > 3 * max(brows[:5] + brows[10:])  # the whole box is new in these alone
    changed = record_of(path)
    (entry,) = changed.pop("redone")
    assert (entry["seconds"], entry["frames"], entry["changed"]) == ([0.2, 0.4], 5, {"paste": "box"})
    assert entry["encoded_seconds"][0] <= 0.2 and entry["encoded_seconds"][1] in (0.4, 0.64)
    assert record.pop("redone") == []
    assert changed.pop("video_sha256") != record.pop("video_sha256")
    assert changed == record


def test_what_was_redone_can_be_redone_into_another_file(dub, script, tmp_path):
    path = tmp_path / "out.mp4"
    assert dub(*BOX, "--no_score").code == 0
    before = path.read_bytes()
    assert redo(script, "0.1-0.2", "--face", path, "--outfile", tmp_path / "new.mp4", "--paste", "box").code == 0
    assert path.read_bytes() == before
    assert redo(script, "0.8-9", "--outfile", tmp_path / "new.mp4", "--pads", 0, 30, 0, 0).code == 0
    entries = record_of(tmp_path / "new.mp4")["redone"]
    assert [entry["changed"] for entry in entries] == [{"paste": "box"}, {"pads": [0, 30, 0, 0]}]
    assert len(lumas(tmp_path / "new.mp4")) == 25
    assert {file.name for file in tmp_path.iterdir()} == {"out.mp4", "out.mp4.json", "new.mp4", "new.mp4.json"}


def test_frames_of_a_repeated_part_are_the_same_as_in_a_dub_of_all(dub, script, tmp_path):
    """With the settings of the first time, redone frames differ from the earlier by their encoding alone."""
    part = ["--start", 0.4, "--end", 0.8, "--extend", "pingpong", "--codec", "ffv1", "--no_score"]
    path = tmp_path / "out.mkv"
    assert dub(*BOX, *part, "--outfile", path).code == 0
    before = lumas(path)
    assert redo(script, "0.5-0.7", "--outfile", path).code == 0
    assert all(np.array_equal(new, old) for new, old in zip(lumas(path), before, strict=True))


def test_a_setting_can_be_set_back_to_its_default(dub, script, tmp_path):
    assert dub(*BOX, "--paste", "box", "--no_score").code == 0
    before = lumas(tmp_path / "out.mp4")
    assert redo(script, "0.2-0.4", "--outfile", tmp_path / "out.mp4", "--paste", "soft").code == 0
    assert record_of(tmp_path / "out.mp4")["redone"][0]["changed"] == {"paste": "soft"}
    after = lumas(tmp_path / "out.mp4")
    brows = [np.abs(new.astype(int) - old)[60:80].mean() for new, old in zip(after, before, strict=True)]
    assert np.argmax(brows) in range(5, 10)


def test_what_cannot_be_redone_is_said_and_the_dub_stays(dub, script, tmp_path, talking, speech):
    path = tmp_path / "out.mp4"
    assert redo(script, "0-1", "--outfile", path).error.endswith("out.mp4: no such dub; give the dub as --outfile")
    assert dub(*BOX, "--no_score").code == 0
    before = path.read_bytes()
    cases = [
        (["0.2"], "--redo 0.2: give two times in seconds"),
        (["0.5-0.2"], "--redo 0.5-0.2: the second time"),
        (["2-3"], "--redo 2-3: "),
        (["0-1", "--crf", 20], "--crf holds for a whole dub"),
        (["0-1", "--start", 0.2], "--start holds for a whole dub"),
        (["0-1", "--audio", speech], "no --audio"),
        (["0-1", "--face", path, "--outfile", tmp_path / "other.mkv"], "has to end in .mp4"),
        (["0-1", "--face", talking], "talking head.mp4.json: is not there"),
    ]
    for arguments, said in cases:
        target = [] if "--outfile" in arguments or "--face" in arguments else ["--outfile", path]
        result = redo(script, *arguments, *target)
        assert result.code == 2, arguments
        assert said in result.error, result.error
    (tmp_path / "other.mp4").write_bytes(talking.read_bytes())
    (tmp_path / "other.mp4.json").write_bytes((tmp_path / "out.mp4.json").read_bytes())
    assert "is not the video that" in redo(script, "0-1", "--outfile", tmp_path / "other.mp4").error
    record = json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))
    (tmp_path / "out.mp4.json").write_text(json.dumps(record | {"face": "moved.mp4"}), encoding="utf-8")
    assert "moved.mp4: was the dub's --face and is not there" in redo(script, "0-1", "--outfile", path).error
    (tmp_path / "out.mp4.json").write_text('{"frames": 25}', encoding="utf-8")
    assert "is no record of a dub that can be redone" in redo(script, "0-1", "--outfile", path).error
    assert path.read_bytes() == before


def test_the_score_that_is_told_is_that_of_what_was_made_again():
    def score(offset):
        return {"measurable": True, "offset": offset, "lse_c": 1.0, "scorer": "an expert"}

    told = io.StringIO()
    common = {"outfile": "out.mp4", "frames": 25, "unchanged": 0, "findings": []}
    inference.say(SimpleNamespace(**common, sync=score(7), redone=[{"sync": score(2)}]), told)
    assert "of what was made again: lips and speech: two frames off (offset +2 frames" in told.getvalue()
    assert "+7" not in told.getvalue()
