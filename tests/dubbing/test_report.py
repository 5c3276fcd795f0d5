"""--report: the contact sheet and the page on which source and dub play in step."""

import json
import re
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from dubbing.options import Options
from dubbing.paste import FaceRegion
from dubbing.record import Record
from dubbing.report import DubReport
from dubbing.source import Source
from dubbing.stages import FaceTask, FrameTask
from footage import film, write_video
from media.opening import plays_in_browsers
from media.reader import VideoReader
from metrics.sync import SecondResult, SyncResult
from utils.images import Rect

NAMES = "zoë's <b>talk.mp4", 'out "1" #50%.mp4'
NUMBERS = {"lse_d": 0.5, "evidence": 9.0}
SYNC = {"scorer": "SyncNet_color expert", "good_confidence": 0.5, "windows": 99, "curve": [], "measurable": True,
        "offset": 0, "lse_c": 0.6, **NUMBERS}  # fmt: skip
SECONDS = [(0, True, 0, 0.6), (1, True, 2, 0.6), (2, True, 5, 0.6), (3, False, 7, 0.1)]


def record(face: Path, outfile: Path, seconds: list[tuple]) -> Record:
    scored = [
        SecondResult(second=second, measurable=measurable, offset=offset, lse_c=confidence, **NUMBERS)
        for second, measurable, offset, confidence in seconds
    ]
    known = {
        "face": str(face), "outfile": str(outfile), "generator": {"file": "g.pth"}, "encoder": "libx264", "fps": 25.0,
        "findings": [], "frames": 125, "dubbed": 125, "interpolated": 0, "unchanged": 0,
        "sync": SyncResult(seconds=scored, **SYNC),
    }  # fmt: skip
    return Record(**{field.name: None for field in fields(Record)} | {"people": [], "unsure": []} | known)


@pytest.fixture
def clip(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return write_video(tmp_path / "in" / NAMES[0], [np.full((64, 96, 3), 5 * number, np.uint8) for number in range(25)])


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


def test_the_page_names_its_files_relative_to_itself_and_says_of_every_second_whether_it_is_in_sync(clip, tmp_path):
    outfile = tmp_path / NAMES[1]
    DubReport(125, Source(clip, Options(fps="source"))).write(record(clip, outfile, SECONDS))
    text = Path(f"{outfile}.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "http" not in text
    files = [unquote(address) for address in re.findall(r'<video id="\w+" src="([^"]*)"', text)]
    assert files == [f"in/{NAMES[0]}", NAMES[1]]
    seconds = re.findall(r'<button type="button" class="(\w+)" data-second="\d+" title="([^"]*)"', text)
    assert [kind for kind, _ in seconds] == ["good", "remark", "bad", "unknown", "unknown"]
    assert seconds[1][1] == "0:01.0: offset +2 frames, confidence 0.60"
    assert all(words.endswith("not measurable") for _, words in seconds[3:])
    assert data_of(text) == {"boxes": [], "rotate": False, "part": [0.0, 0.0, 1.0, 1.0]}


def test_the_page_knows_the_face_at_every_time_and_where_the_source_begins_anew(clip, tmp_path):
    source = Source(clip, Options(fps="source", crop=(0, -1, 0, 48)))
    report = DubReport(50, source)
    region = FaceRegion(Rect(12, 16, 36, 48))
    for number, frame in enumerate(source.extend_frames(2.0)):
        face = FaceTask(frame, region, *[None] * 4) if number >= 5 else None  # the first frames show none
        report.note(FrameTask(frame, [face]))
    report.write(record(clip, tmp_path / "out.mp4", []))
    data = data_of((tmp_path / "out.mp4.html").read_text(encoding="utf-8"))
    boxes = np.array(data["boxes"])
    assert boxes[:, 0] == pytest.approx(np.arange(1, 10) / 5)
    assert boxes[:, 1] == pytest.approx(np.arange(1, 10) / 5 % 1)  # the source lasts one second
    assert (boxes[:, 2:] == [0.25, 0.25, 0.5, 0.5]).all()
    assert data["part"] == [0, 0, 0.5, 1]  # of the source's picture


def test_what_browsers_do_not_play_is_shown_as_a_copy_that_they_do(tmp_path):
    source, dubbed = tmp_path / "in.mpg", tmp_path / "out.mkv"
    film(source, "mpeg1video", [np.full((64, 96, 3), 5 * number, np.uint8) for number in range(50)], "yuv420p")
    write_video(dubbed, [np.zeros((64, 96, 3), np.uint8)])
    report = DubReport(10, Source(source, Options(fps="source", start=1.0)))
    region = FaceRegion(Rect(12, 16, 36, 48))
    for frame in report._source.extend_frames(0.4):
        report.note(FrameTask(frame, [FaceTask(frame, region, *[None] * 4)]))
    report.write(record(source, dubbed, []))
    text = Path(f"{dubbed}.html").read_text(encoding="utf-8")
    files = [tmp_path / unquote(address) for address in re.findall(r'<video id="\w+" src="([^"]*)"', text)]
    assert [file.name for file in files] == ["out.mkv.source.mp4", "out.mkv.copy.mp4"]
    assert all(map(plays_in_browsers, files))
    shown = [frame.image.mean() for frame in VideoReader(files[0]).frames()]
    assert 10 <= len(shown) <= 12  # not all of the source, but what the dub shows
    assert shown[0] == pytest.approx(125, abs=8)  # from where the dub begins
    assert [box[1] for box in data_of(text)["boxes"]] == pytest.approx([0, 0.2], abs=0.05)


@pytest.mark.slow
def test_source_and_dub_play_in_step_and_the_keys_work(chromium, clip, tmp_path):
    outfile = tmp_path / NAMES[1]
    write_video(outfile, [np.full((64, 96, 3), number, np.uint8) for number in range(100)])
    report = DubReport(100, Source(clip, Options(fps="source")))
    report._boxes = [[n / 5, n / 5 % 1.0, 0.2, 0.2, 0.5, 0.5] for n in range(20)]  # the source lasts one second
    report.write(record(clip, outfile, SECONDS))
    times = "[dub.currentTime, source.currentTime]"
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 800})
    shown = context.new_page()
    errors: list = []
    shown.on("pageerror", lambda error: errors.append(error))
    shown.goto(Path(f"{outfile}.html").as_uri())
    shown.wait_for_function("dub.readyState >= 2")
    if shown.evaluate("source.videoWidth") == 0:
        pytest.skip("this Chromium cannot play H.264")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.evaluate("go(2.4)")
    shown.wait_for_timeout(300)
    assert shown.evaluate(times) == pytest.approx([2.4, 0.4], abs=0.05)
    shown.click(".seconds button >> nth=1")
    shown.keyboard.press("Space")
    shown.wait_for_function("dub.currentTime > 1.3")
    shown.keyboard.press("Space")
    shown.wait_for_timeout(300)
    now, beside = shown.evaluate(times)
    assert beside == pytest.approx(now % 1.0, abs=0.1)
    assert shown.evaluate("dub.paused && source.paused")
    assert not errors
    context.close()
