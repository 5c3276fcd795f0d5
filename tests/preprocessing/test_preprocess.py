"""Raw videos -> clips, lists, report."""

import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest
import soundfile

from footage import click_track, encode
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import make_clip


def test_a_clip_has_a_face_for_every_frame_and_sound_as_long_as_the_frames(preprocessed):
    for n in range(3):
        clip = preprocessed.root / "Zoë's talk" / f"clip {n}"
        record = json.loads((clip / "clip.json").read_text(encoding="utf-8"))
        assert record["verdict"] == "ok"
        assert record["frames"] == record["faces"] == 50
        assert {path.name for path in clip.glob("*.jpg")} == {f"{i}.jpg" for i in range(50)}
        sound = soundfile.info(clip / "audio.wav")
        assert (sound.samplerate, sound.channels, sound.frames) == (16000, 1, 32000)
        face = cv2.imdecode(np.fromfile(clip / "10.jpg", np.uint8), cv2.IMREAD_COLOR)
        assert abs(face.shape[0] - record["face_height"]) < 15
        assert 100 < face.shape[0] < 150


def test_report_and_lists_are_written(preprocessed):
    report = json.loads((preprocessed.root / "report.json").read_text(encoding="utf-8"))
    total = report["total"]
    assert (total["videos"], total["usable"], total["minutes"], total["faces_found"]) == (3, 3, 0.1, 1.0)
    assert 0.3 < total["speech_share"] < 1
    listed = "".join((preprocessed.lists / name).read_text(encoding="utf-8") for name in ("train.txt", "eval.txt"))
    assert sorted(listed.splitlines()) == [f"Zoë's talk/clip {n}" for n in range(3)]


@pytest.mark.slow
def test_what_cannot_be_used_is_skipped_and_named_while_the_rest_is_made(tmp_path, talking, script):
    raw = tmp_path / "raw"
    (raw / "deep" / "er").mkdir(parents=True)
    shutil.copy(talking, raw / "good.mp4")
    make_clip(raw / "deep" / "er" / "good.mp4", start=1.0, seconds=2.0, fps=30.0)
    shutil.copy(talking, raw / "deep" / "er" / "good.MOV")
    strange = "\udcff\n \u2028" if sys.platform == "linux" else "long"  # no UTF-8
    strange += "a" * (250 - len(os.fsencode(strange)))
    shutil.copy(talking, raw / f"{strange}.mp4")
    (raw / "text.mp4").write_text("not a video\n" * 50)
    (raw / "cut.mkv").write_bytes(talking.read_bytes()[:30_000])
    encode(raw / "mute.mp4", "libx264")
    encode(raw / "faceless.mp4", "libx264", frames=25, sound=click_track(1.0, 0.5))
    result = script("preprocess", "--data_root", raw, "--preprocessed_root", tmp_path / "clips", "--filelists_dir",
                    tmp_path / "lists", "--workers", 2)  # fmt: skip
    assert result.code == 1
    records = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))["clips"]
    verdicts = {record["clip"]: record["verdict"].split(";")[0] for record in records}
    (retimed,) = [record for record in records if record["clip"] == "deep/er/good.mp4"]
    assert (retimed["fps_in"], retimed["frames"], retimed["seconds"]) == (30.0, 50, 2.0)
    assert {clip for clip, verdict in verdicts.items() if verdict == "ok"} == {
        "raw/good", "deep/er/good", "deep/er/good.mp4", f"raw/{strange}"
    }  # fmt: skip
    assert "not a readable video" in verdicts["raw/text"]
    assert "no sound track" in verdicts["raw/mute"]
    assert "no face" in verdicts["raw/faceless"]
    assert "4 of 8 videos usable" in result.out
    assert not list((tmp_path / "clips").rglob("*.part"))


def test_a_dub_is_skipped_with_its_reason_unless_dubs_are_accepted(tmp_path, talking, script, no_workers):
    raw = tmp_path / "raw"
    raw.mkdir()
    reader = VideoReader(talking)
    with VideoWriter(raw / "a dub.mp4", reader.rate, talking, like=reader, dubbed=True) as writer:
        for time, picture in reader.pictures():
            writer.write_picture(picture, time)
    shutil.copy(talking, raw / "real.mp4")
    where = ["--data_root", raw, "--preprocessed_root", tmp_path / "clips", "--filelists_dir", tmp_path / "lists"]
    for flags, code, finished in (([], 1, 0), (["--accept_dubs"], 0, 1), ([], 1, 1)):
        result = script("preprocess", *where, *flags)
        assert (result.code, f"{finished} finished before" in result.out) == (code, True)
        report = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))
        said = "--accept_dubs" in json.dumps(report)
        listed = any("a dub" in path.read_text(encoding="utf-8") for path in (tmp_path / "lists").glob("*.txt"))
        assert (said, listed) == (code == 1, code == 0)
