"""The page: its interface for programs, its files over HTTP, and in a real browser what visitors do and see."""

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
from serving import Server, connect

pytestmark = pytest.mark.slow
LONG = 240_000  # milliseconds, in which a job ends on a busy machine


def give(page, face, speech):
    page.set_input_files("#face input[type=file]", face)
    page.set_input_files("#speech input[type=file]", speech)
    page.locator("#speech").get_by_text(speech.name.split(".")[0]).first.wait_for()


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


def test_footage_is_checked_and_a_click_on_the_second_face_dubs_that_one(visit, server, speech, pair):
    page = visit()
    give(page, pair, speech)
    page.locator("#face_note", has_text="Click the face").wait_for()
    page.locator("#check").click()
    results = page.locator("#dub_results", has_text="several people")
    results.wait_for(timeout=LONG)
    assert "a dub of 25 frames takes about" in results.inner_text()
    assert results.locator("img").count() == 2

    picture = page.locator("#faces img")
    picture.wait_for()
    before, box = picture.get_attribute("src"), picture.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.45 * box["height"])
    page.wait_for_function("before => document.querySelector('#faces img').src !== before", arg=before)
    page.locator("#preview").click()
    page.frame_locator("iframe.result").locator("#play").wait_for(timeout=LONG)
    record = page.locator("#dub_results a", has_text="record").get_attribute("href")
    assert json.loads(server.get(record).text)["settings"]["face_at"][0] > 360  # in the right half
    for link in page.locator("#dub_results a").all():
        answer = server.get(link.get_attribute("href"))
        assert answer.status == 200 and str(server.folder) not in answer.text
    page.reload()
    found = page.locator("#earlier a").first.get_attribute("href")
    assert found.rpartition("/")[0] == record.rpartition("/")[0]


def test_visitors_wait_in_one_line_and_a_cancelled_dub_leaves_no_video(visit, server, talking, speech, long_speech):
    first, second = visit(), visit()
    give(first, talking, long_speech)
    give(second, talking, speech)
    first.locator("#dub").click()
    first.locator("#dub_results", has_text=re.compile(r"[1-9]\d*/\d+")).wait_for(timeout=LONG)  # frames
    second.locator("#preview").click()
    second.locator("#dub_results", has_text="queue: 1").wait_for()
    first.reload()  # in mid-job
    first.locator("#earlier", has_text="running").wait_for()
    first.locator("#dub_cancel").click()
    second.frame_locator("iframe.result").locator("#play").wait_for(timeout=LONG)
    speeches = [path for path in (server.folder / "sessions").glob("*/*/speech.wav") if path.stat().st_size > 1e6]
    assert speeches and not [path for speech in speeches for path in speech.parent.glob("*dub*")]
    assert second.locator("#earlier a").count() == 1


def test_what_is_wrong_with_a_file_is_one_line_and_a_training_shows_its_log(visit, server, tmp_path, speech):
    wrong, large = tmp_path / "<img src=x onerror=document.title='hit'>.mp4", tmp_path / "large.mp4"
    wrong.write_text("no video")
    large.write_bytes(bytes(3_000_000))
    page = visit()
    give(page, wrong, speech)
    page.locator("#face_note", has_text=".mp4: ").wait_for()
    page.locator("#dub").click()
    page.get_by_text(re.compile(r"^face\.mp4: ")).first.wait_for()
    assert page.title() != "hit"  # the name stays text

    page = visit()
    page.set_input_files("#face input[type=file]", large)
    page.get_by_text(re.compile("size", re.IGNORECASE)).first.wait_for()
    (server.videos / "later").mkdir(exist_ok=True)  # after the server started
    (server.videos / "later" / "a.mp4").touch()
    page.get_by_role("tab", name="Train").click()
    page.locator("#videos input").click()
    page.get_by_role("option", name="later").click()
    page.locator("#train").click()
    page.locator("#train_state", has_text="later/a").wait_for(timeout=LONG)


@pytest.fixture
def client(server):
    return connect(server)


@pytest.fixture(scope="module")
def files(talking, speech):
    gradio_client = pytest.importorskip("gradio_client", reason="comes with requirements-web.txt")
    return {"face": gradio_client.handle_file(str(talking)), "audio": gradio_client.handle_file(str(speech))}


def test_options_by_name_give_the_video_and_its_record(client, files):
    _, record = client.predict(
        **files, settings={"pads": "0 20 0 0", "paste": "box", "no_score": True}, api_name="/dub"
    )
    assert (record["frames"], record["sync"], record["face"]) == (25, None, "face.mp4")
    assert record["settings"]["paste"] == "box"
    scores = client.predict(video=files["face"], api_name="/evaluate")
    assert scores["mean"][0]["scorer"]


@pytest.mark.parametrize(("wrong", "line"), [
    ({"pads": "1 2"}, "--pads 1 2: give 4 values"),
    ({"checkpoint_path": "/etc/passwd"}, "checkpoint_path /etc/passwd: choose from"),
    ({"paste": "glue"}, "--paste glue: choose from"),
])  # fmt: skip
def test_a_wrong_option_is_one_line(client, files, wrong, line):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="^" + line.replace(".", r"\.")):
        client.predict(**files, settings=wrong, api_name="/dub")


def test_no_address_or_path_leads_to_weights_or_out_of_the_results(client, server, files):
    from gradio_client.exceptions import AppError

    folder = server.folder.resolve()
    run = folder / "runs" / "anna"
    run.mkdir(exist_ok=True)
    for name in ("best.pth", "summary.html"):
        (run / name).write_text("root:")
    (run / "link.html").symlink_to("/etc/passwd")
    assert server.get("/runs/anna/summary.html").status == 200
    for path in (
        "/gradio_api/file=/etc/passwd", f"/gradio_api/file={folder / 'server.log'}", f"/gradio_api/file={folder}",
        f"/gradio_api/file={folder / 'sessions'}", f"/gradio_api/file={run / 'best.pth'}", "/runs/anna/best.pth",
        "/gradio_api/file=../../etc/passwd", "/sessions/", "/sessions/../server.log", "/sessions/%2e%2e/server.log",
        "/runs/%2e%2e%2f%2e%2e%2fvideos/x.mp4", "/runs/anna/link.html", "/docs", "/openapi.json", "/uploads",
    ):  # fmt: skip
        answer = server.get(path)
        assert answer.status in (403, 404, 405), (path, answer.status, answer.text[:200])
        assert "root:" not in answer.text
    for path in ("/etc/passwd", str(folder / "server.log")):
        sent = {"path": path, "meta": {"_type": "gradio.FileData"}}
        with pytest.raises((AppError, ValueError)):
            client.predict(face=sent, audio=files["audio"], api_name="/preview")


def test_a_login_is_asked_for_where_one_is_set(tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    monkeypatch.setenv("WAV2LIP_AUTH", "anna:pass word")
    served = Server(tmp_path / "login", "--auth")
    try:
        assert (served.get("/health").status, served.get("/config").status) == (200, 401)
        assert connect(served, auth=("anna", "pass word")).endpoints
        with pytest.raises(Exception, match=r"[Cc]ould not|[Ll]ogin|401"):
            connect(served, auth=("anna", "x"))
    finally:
        served.kill()
