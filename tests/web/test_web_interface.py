"""The page's interface for programs, its files over HTTP, and a server that is killed."""

import json
import time

import pytest

from serving import Server, connect
from web.jobs import CUT_OFF

pytestmark = pytest.mark.slow


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
    ({"refine": "../person.safetensors"}, "refine ../person.safetensors: choose from"),
    ({"paste": "glue"}, "--paste glue: choose from"),
])  # fmt: skip
def test_a_wrong_option_is_one_line(client, files, wrong, line):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="^" + line.replace(".", r"\.")):
        client.predict(**files, settings=wrong, api_name="/dub")


def test_jobs_submitted_at_once_all_finish_and_none_is_lost(client, server, files):
    jobs = [client.submit(**files, settings={"fps": "25", "no_score": True}, api_name="/preview") for _ in range(8)]
    assert [job.result(timeout=120)[1]["frames"] for job in jobs] == [25] * 8


def test_no_address_leads_out_of_the_jobs(server, tmp_path):
    folder = server.folder.resolve()
    for path in (
        "/gradio_api/file=/etc/passwd", f"/gradio_api/file={folder / 'jobs.json'}", f"/gradio_api/file={folder}",
        "/gradio_api/file=../../etc/passwd", "/jobs/", "/jobs/../jobs.json", "/jobs/%2e%2e/jobs.json",
        f"/jobs/{'0' * 32}/%2e%2e%2f%2e%2e%2fjobs.json", "/docs", "/redoc", "/openapi.json", "/jobs.json",
        "/sessions", "/uploads",
    ):  # fmt: skip
        answer = server.get(path)
        assert answer.status in (403, 404, 405), (path, answer.status, answer.text[:200])
        assert "root:" not in answer.text and '"owner"' not in answer.text


def test_a_path_of_the_server_sent_as_a_file_is_refused(client, server, files):
    from gradio_client.exceptions import AppError

    for path in ("/etc/passwd", str(server.folder.resolve() / "jobs.json")):
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


def test_a_server_killed_in_mid_job_lists_the_job_as_failed_and_works(tmp_path, files):
    folder = tmp_path / "killed"
    first = Server(folder)
    client = connect(first)  # held, or it ends with its submission
    client.submit(**files, api_name="/preview")
    for _ in range(2400):
        jobs = json.loads((folder / "jobs.json").read_text())
        if jobs and jobs[0]["state"] == "running":
            break
        time.sleep(0.05)
    first.kill()
    second = Server(folder)
    try:
        assert [(job["state"], job["message"]) for job in json.loads((folder / "jobs.json").read_text())] == [
            ("failed", CUT_OFF)
        ]
        _, record = connect(second).predict(**files, api_name="/preview")
        assert record["frames"] == 25
    finally:
        second.kill()
