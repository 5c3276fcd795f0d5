"""The page in a real browser: what visitors do, and what they see of it."""

import itertools
import json
import re
from fractions import Fraction

import numpy as np
import pytest

import audio
from demo import showcase
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import SPEECH

pytestmark = pytest.mark.slow
PROMPT = 2  # seconds, of which a batch of faces takes half a one on a busy machine


def give(page, face, speech):
    page.set_input_files("#face input[type=file]", face)
    page.set_input_files("#speech input[type=file]", speech)
    page.locator("#speech").get_by_text(speech.name.split(".")[0]).first.wait_for()


def two_people(path):
    """The two people of the demonstration beside each other, ten frames."""
    both = [itertools.islice(VideoReader(person.face).frames(), 10) for person in showcase.PEOPLE]
    with VideoWriter(path, Fraction(25)) as writer:
        for number, (left, right) in enumerate(zip(*both, strict=True)):
            writer.write(np.hstack([left.image, right.image]), number / 25)
    return path


def state(page, words):
    """Wait for words in the state of the job, and return all of it. On a busy machine the page shows it late: how
    quickly a job ends is read from the server's list."""
    found = page.locator("#dub_state", has_text=re.compile(words))
    found.wait_for(timeout=240_000)
    return found.inner_text()


def cancelled(page, server):
    """Cancel the running dub; returns the seconds between the server's hearing of it and the end of the job."""
    page.locator("#dub_cancel").click()
    state(page, "cancelled")
    stopped = [job for job in json.loads((server.folder / "jobs.json").read_text()) if job["to_stop"]]
    return stopped[-1]["ended"] - stopped[-1]["to_stop"]


def test_a_folder_of_videos_that_comes_later_can_be_chosen_when_the_tab_is_opened(visit, server):
    page = visit()
    (server.videos / "later").mkdir(exist_ok=True)
    (server.videos / "later" / "a.mp4").touch()
    page.get_by_role("tab", name="Train").click()
    page.locator("#videos input").click()
    page.get_by_role("option", name="later").wait_for()


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory):
    """More than a dub gets through while somebody presses a button: the tests' speech again and again."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    audio.save_wav(np.tile(audio.load_wav(SPEECH, 16_000), 20)[: 50 * 16_000], path, 16_000)
    return path


def test_a_preview_shows_source_and_dub_side_by_side_and_offers_the_files(visit, server, talking, speech):
    page = visit()
    give(page, talking, speech)
    page.locator("#preview").click()
    assert "Preview of talking head.mp4 done" in state(page, "done|failed")
    inner = page.frame_locator("iframe.result")
    inner.locator("video").first.wait_for()
    for link in page.locator("#dub_results a").all():
        answer = server.get(link.get_attribute("href"))
        assert answer.status == 200 and str(server.folder) not in answer.text


def test_a_click_on_the_second_face_dubs_that_one(visit, server, speech, tmp_path):
    pair = two_people(tmp_path / "two.mp4")
    page = visit()
    give(page, pair, speech)
    picture = page.locator("#faces img")
    picture.wait_for()
    before, box = picture.get_attribute("src"), picture.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.45 * box["height"])
    page.wait_for_function("before => document.querySelector('#faces img').src !== before", arg=before)
    page.locator("#preview").click()
    state(page, "done|failed")
    record = page.locator("#dub_results a", has_text="record").get_attribute("href")
    assert json.loads(server.get(record).text)["settings"]["face_at"][0] > 360  # in the right half


def test_what_is_wrong_with_the_footage_is_said_before_a_dub(visit, speech, tmp_path):
    page = visit()
    pair = two_people(tmp_path / "two.mp4").rename(tmp_path / "IMG_2.MOV")  # as phones write it
    page.set_input_files("#face input[type=file]", pair)
    page.locator("#face_note", has_text="several people").wait_for()
    page.set_input_files("#speech input[type=file]", speech)
    page.locator("#speech").get_by_text("speech").first.wait_for()
    page.locator("#check").click()
    results = page.locator("#dub_results", has_text="several people")
    results.wait_for()
    assert "a dub of 25 frames takes about" in results.inner_text()
    assert results.locator("img").count() == 2


def test_a_dub_that_is_cancelled_stops_and_leaves_no_video(visit, server, talking, long_speech):
    page = visit()
    give(page, talking, long_speech)
    page.locator("#dub").click()
    assert "left" in state(page, "dubbing: [1-9]")
    assert cancelled(page, server) < PROMPT
    assert page.locator("#dub_cancel").is_hidden() and page.locator("iframe.result").count() == 0
    speeches = [path for path in (server.folder / "sessions").glob("*/*/speech.wav") if path.stat().st_size > 1e6]
    assert speeches and not [path for speech in speeches for path in speech.parent.glob("*dub*")]


def test_a_file_that_is_no_video_is_one_line_and_its_name_stays_text(visit, tmp_path, speech):
    wrong = tmp_path / "<img src=x onerror=document.title='hit'>.mp4"
    wrong.write_text("no video")
    page = visit()
    give(page, wrong, speech)
    page.locator("#dub").click()
    text = state(page, "failed")
    assert "img src=x" in text and "face.mp4: " in text and "\n" not in text.strip()
    assert page.locator("#face_note").inner_text().startswith("face.mp4: ")
    assert page.title() != "hit"


def test_a_file_larger_than_the_limit_is_refused_with_the_limit(visit, tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(3_000_000))
    page = visit()
    page.set_input_files("#face input[type=file]", large)
    page.get_by_text(re.compile("size", re.IGNORECASE)).first.wait_for()
    page.locator("#dub").click()
    page.get_by_text("give a video or a picture with the face").wait_for()


def test_two_visitors_wait_in_one_line_and_see_only_their_own_jobs(visit, server, talking, speech, long_speech):
    first, second = visit(), visit()
    give(first, talking, long_speech)
    give(second, talking, speech)
    first.locator("#dub").click()
    state(first, "dubbing|faces|starts")
    second.locator("#preview").click()
    assert "1 job before it" in state(second, "waits")
    first.reload()  # in mid-job
    assert "Dub of talking head.mp4" in state(first, "dubbing")
    assert cancelled(first, server) < PROMPT
    assert "Preview of talking head.mp4 done" in state(second, "done|failed")
