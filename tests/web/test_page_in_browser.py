"""The page in a real browser: what visitors do and see, by mouse and by keyboard, in both languages; and whether all
can use it (axe-core). States that take long to reach are made by answers in the server's place."""

import itertools
import json
import re
import time
from fractions import Fraction

import numpy as np
import pytest

import audio
from demo import showcase
from media.reader import VideoReader
from media.writer import VideoWriter
from portrait import SPEECH
from serving import ROOT

pytestmark = pytest.mark.slow
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
ONE = {"id": "a1", "name": "two.mp4", "kind": "video", "seconds": 4.0, "bytes": 10, "has_sound": True}
FILES = [
    {"role": role, "name": name, "url": f"/made/{name}"}
    for role, name in {"video": "two_speech.mp4", "page": "two_speech.mp4.html", "record": "two_speech.mp4.json",
                       "picture": "two_speech.mp4.png", "log": "log.txt"}.items()
]  # fmt: skip


def job(number, kind, state, **known):
    """A job as the server describes it."""
    return {
        "id": f"{number}", "kind": kind, "state": state, "place": None, "title": "two.mp4", "created": time.time(),
        "started": time.time(), "ended": None, "progress": None, "estimate_s": None, "message": None, "advice": [],
        "inputs": {"face": ONE}, "settings": {}, "results": [], "expires": time.time() + 3600,
    } | known  # fmt: skip


STATES = [
    job(1, "dub", "waiting", place=2, started=None),
    job(2, "dub", "running", progress={"what": "dubbing", "done": 40, "total": 100, "unit": "", "remaining_s": 125}),
    job(3, "dub", "done", results=FILES, advice=["The lips are 3 frames late."], settings={"pads": "0 20 0 0"}),
    job(4, "check", "done", results=FILES[3:], message="Nothing is wrong with the footage."),
    job(5, "dub", "failed", message="two.mp4: no face was found."),
    job(6, "train", "stopping", results=FILES[4:]),
    job(8, "score", "done", results=[{"role": "scores", "name": "scores.json", "url": "/made/scores.json"}]),
    job(7, "preview", "cancelled"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The two people of the demonstration beside each other, ten frames, named as phones do."""
    path = tmp_path_factory.mktemp("pair") / "two.mp4"
    both = [itertools.islice(VideoReader(person.face).frames(), 10) for person in showcase.PEOPLE]
    with VideoWriter(path, Fraction(25)) as writer:
        for number, (left, right) in enumerate(zip(*both, strict=True)):
            writer.write(np.hstack([left.image, right.image]), number / 25)
    return path.rename(path.with_name("IMG_2.MOV"))


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory):
    """More than a dub gets through while somebody presses a button: the tests' speech again and again."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    audio.save_wav(np.tile(audio.load_wav(SPEECH, 16_000), 20)[: 50 * 16_000], path, 16_000)
    return path


def give(page, face, speech):
    page.set_input_files("#face_box input[type=file]", face)
    page.set_input_files("#speech_box input[type=file]", speech)
    page.locator("#speech_box audio").wait_for()
    page.locator("#faces img").wait_for()


def jobs_of(page):
    return page.evaluate("fetch('/api/jobs').then(answer => answer.json())")


def press_tab_until(page, selector):
    """As somebody without a mouse."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.locator(selector).evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_the_second_face_is_dubbed_by_keyboard_alone_and_the_job_is_there_after_a_reload(visit, server, pair, speech):
    page = visit()
    give(page, pair, speech)
    press_tab_until(page, "#faces input:checked")
    page.keyboard.press("ArrowRight")
    assert page.locator("#faces input").nth(1).is_checked()
    press_tab_until(page, "#go input[type=checkbox]")
    page.keyboard.press("Space")
    press_tab_until(page, "#preview")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # twice, as in a double click
    page.locator(".result progress").wait_for(timeout=10_000)
    page.locator(".result .state[data-state=done]").wait_for()
    assert page.title().startswith("✓ Preview done")
    assert "Preview" in page.locator("#live").inner_text()
    page.locator(".result p", has_text="drawn by the network").wait_for()

    (made,) = jobs_of(page)
    assert float(made["settings"]["face_at"].split(",")[0]) > 360  # in the right half
    with page.expect_download() as download:
        page.locator(".result").get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "IMG_2_a speech.mp4"

    page.reload()
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("link", name="IMG_2.MOV").click()
    assert page.url == f"{server.address}/jobs/{made['id']}"
    page.locator(".one video").wait_for()
    page.go_back()
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#job_list").get_by_role("button", name="Delete now").click()
    page.get_by_text("Nothing yet").wait_for()
    assert jobs_of(page) == []


def test_a_cancelled_dub_ends_at_once_and_a_double_click_has_made_one_job(visit, talking, long_speech):
    page = visit()
    give(page, talking, long_speech)
    page.get_by_label("I have the right").check()
    page.locator("#dub").dblclick()
    page.locator(".result").get_by_role("button", name="Cancel").click()
    page.locator(".result .state[data-state=cancelled]").wait_for(timeout=10_000)
    assert [one["state"] for one in jobs_of(page)] == ["cancelled"]
    other = visit("/jobs")
    other.get_by_text("Nothing yet").wait_for()  # of another visitor's


def test_an_error_stands_beside_the_box_that_it_concerns(visit, tmp_path, talking, speech):
    wrong, large = tmp_path / "<img src=x onerror=document.title='hit'>.mp4", tmp_path / "large.mp4"
    wrong.write_text("no video")
    large.write_bytes(bytes(3_000_000))
    page = visit()
    page.locator("#dub").click()
    page.locator("#face_box .error", has_text="Choose a video").wait_for()
    page.set_input_files("#face_box input[type=file]", large)
    page.locator("#face_box .error", has_text="large.mp4 is larger than 2 MB").wait_for()
    page.set_input_files("#face_box input[type=file]", wrong)
    page.locator("#face_box .error", has_text=re.compile("onerror")).wait_for()
    assert "hit" not in page.title()  # the name stays text

    give(page, talking, speech)
    assert page.locator(".error:visible").count() == 0
    page.locator("#dub").click()
    page.locator("#go .error", has_text="Tick this box").wait_for()
    page.get_by_label("I have the right").check()
    page.locator("#group_face summary").click()
    page.get_by_label("Margins of the face box").fill("1 2")
    page.locator("#dub").click()
    page.locator("#group_face .error", has_text="4 values").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    assert jobs_of(page) == []


def test_an_example_fills_both_boxes_and_a_recording_is_asked_about(visit):
    page = visit()
    page.get_by_role("button", name="Use example 1").click()
    page.locator("#faces img").wait_for()
    page.locator("#speech_box audio").wait_for()
    page.get_by_role("button", name="Record with the microphone").click()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("Which speech?").wait_for()
    page.locator("#dub").click()
    page.locator("#speech_box .error", has_text="Choose one of them").wait_for()
    page.get_by_label("recording.webm").check()
    page.get_by_label("Player for recording.webm").wait_for()
    assert page.locator("#speech_box .error:visible").count() == 0


def test_everything_is_said_in_chinese(visit):
    page = visit(locale="zh-CN")
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.locator("#settings code").count() > 20
    labels = page.locator("label, legend, summary, h1, h2, button, #settings .hint").all_inner_texts()
    texts = page.evaluate("import('/static/texts.js').then(module => module.TEXTS)")
    for key, (english, chinese, *_) in texts.items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), key
    english = [text for text in labels if text.strip() and not re.search("[\u4e00-\u9fff]|English", text)]
    assert not english
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Dub", exact=True).wait_for()


def test_weak_eyes_screen_readers_and_phones_are_served_in_every_state(visit, server):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs requirements-dev.txt").Axe()
    page = visit()
    look = {"picture": "/first_frame", "width": 100, "height": 100, "faces": [[5, 5, 40, 60], [50, 5, 90, 60]]}
    scores = [{"sync": [{"scorer": "expert", "offset": 1, "lse_c": 0.42, "lse_d": 0.72}]}]
    record = {"own_pixels": {"used": 60, "frames": 75}, "dubbed": 75, "videos": scores}
    page.route("**/api/jobs", lambda route: route.fulfill(json=STATES))
    page.route("**/api/uploads", lambda route: route.fulfill(json=[ONE, ONE | {"id": "b1", "kind": "sound"}]))
    page.route("**/api/uploads/*/look", lambda route: route.fulfill(json=look))
    page.route("**/media", lambda route: route.fulfill(path=showcase.PEOPLE[0].face))
    page.route("**/first_frame", lambda route: route.fulfill(path=ROOT / "docs" / "demo.webp"))
    page.route("**/made/**", lambda route: route.fulfill(json=record))
    page.evaluate("sessionStorage.dub = JSON.stringify({face: 'a1', speech: 'b1'})")
    wrong = []
    for path in ("/", "/jobs", "/jobs/3", "/jobs/4", "/jobs/8", "/train", "/score", "/?login"):
        if path == "/?login":
            page.route("**/api/session", lambda route: route.fulfill(json={"auth": True, "user": None}))
        page.goto(server.address + path)
        page.get_by_role("heading", level=1).wait_for()
        if path == "/":
            page.locator("#faces img").wait_for()
            page.locator("#dub").click()  # an error: no consent
            page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        if path == "/jobs":
            page.get_by_text("Drawing mouths: 40 %, about 2 minutes left", exact=True).wait_for()
        if path == "/jobs/3":
            page.locator(".one", has_text="60 of 75 frames").wait_for()
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            found = axe.run(page).response["violations"]
            wrong += [(path, width, scheme, one["id"], one["nodes"][0]["html"]) for one in found]
    assert not wrong, json.dumps(wrong, indent=1)
