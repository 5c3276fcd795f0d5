"""The page's interface for programs, and its files over HTTP."""

import pytest

from serving import Server, connect

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
    jobs = [client.submit(**files, settings={"fps": "25", "no_score": True}, api_name="/preview") for _ in range(3)]
    assert [job.result(timeout=120)[1]["frames"] for job in jobs] == [25] * 3


def test_no_address_leads_to_weights_or_out_of_the_results(server):
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


def test_a_path_of_the_server_sent_as_a_file_is_refused(client, server, files):
    from gradio_client.exceptions import AppError

    for path in ("/etc/passwd", str(server.folder.resolve() / "server.log")):
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
