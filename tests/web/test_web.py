"""web.py in a process of its own: a whole dub, uploads that break off, and servers that are killed or started twice."""

import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import audio
from demo import showcase
from portrait import SPEECH
from serving import ROOT, Server
from utils import process

pytest.importorskip("fastapi", reason="web.py needs requirements-web.txt")
httpx = pytest.importorskip("httpx", reason="needs requirements-dev.txt")

pytestmark = pytest.mark.slow
MAN = showcase.PEOPLE[0]


@pytest.fixture
def enter():
    """A new visitor's client."""
    clients = []

    def visit(server):
        clients.append(httpx.Client(base_url=server.address, timeout=60))
        clients[-1].get("/api/session")
        return clients[-1]

    yield visit
    for client in clients:
        client.close()


def upload(client, path):
    answer = client.put("/api/uploads", params={"name": path.name}, content=path.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def submit(client, kind, **inputs):
    request = {"kind": kind, "inputs": inputs, "consent": True, "token": secrets.token_hex(8)}
    answer = client.post("/api/jobs", json=request)
    assert answer.status_code == 201, answer.text
    return answer.json()


def until(client, job, *states):
    seen = []
    for _ in range(2400):  # on a busy machine
        job = client.get(f"/api/jobs/{job['id']}").json()
        if job["progress"] and job["progress"] not in seen:
            seen.append(job["progress"])
        if job["state"] in states:
            return job, seen
        time.sleep(0.05)
    raise AssertionError(job)


def processes_in(folder):
    """Numbers of the processes that work in a folder or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.resolve().is_relative_to(folder):
                found.append(int(entry.parent.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs Linux's /proc")


def test_a_preview_from_upload_to_download(server, enter):
    client = enter(server)
    example = client.post("/api/examples/1").json()
    for _ in range(3):  # a busy machine may stand still for as long as 75 frames are dubbed
        job = submit(client, "preview", face=example["face"]["id"], speech=example["speech"]["id"])
        job, seen = until(client, job, "done", "failed")
        if "dubbing" in {progress["what"] for progress in seen}:
            break
    assert (job["state"], job["title"]) == ("done", "man.mp4 + man_speech.ogg")
    assert job["message"].startswith("Lips and speech: ") and job["message"].endswith(".")
    assert "dubbing" in {progress["what"] for progress in seen}
    results = {result["role"]: result for result in job["results"]}
    assert {role: result["name"] for role, result in results.items()} == {
        "video": "man_man_speech.mp4", "page": "man_man_speech.mp4.html", "picture": "man_man_speech.mp4.png",
        "record": "man_man_speech.mp4.json", "log": "log.txt",
    }  # fmt: skip
    for result in results.values():
        answer = client.get(result["url"])
        assert answer.status_code == 200 and str(server.folder).encode() not in answer.content, result
        assert str(ROOT).encode() not in answer.content, result
    assert client.get(results["record"]["url"]).json()["frames"] == 75
    page = results["page"]["url"]
    client.cookies.clear()  # as the page's own videos are asked for
    for name in ("man_man_speech.mp4", "face/man.mp4"):
        assert client.get(page.replace("man_man_speech.mp4.html", name)).status_code == 200
    files = [path for path in (server.folder / "visitors").rglob("*") if path.is_file()]
    assert files and not [path for path in files if path.stat().st_mode & 0o077]


def test_an_upload_that_breaks_off_or_meets_a_full_disk_leaves_nothing(server, enter):
    client = enter(server)
    before = len(list((server.folder / "visitors").glob("*/uploads/*")))
    for _ in range(3):
        broken = http.client.HTTPConnection("127.0.0.1", int(server.address.rpartition(":")[2]))
        broken.putrequest("PUT", "/api/uploads?name=a.mp4")
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        for name, value in {"Content-Length": "1000000", "Cookie": cookies}.items():
            broken.putheader(name, value)
        broken.endheaders()
        broken.send(bytes(100_000))
        broken.close()
    if sys.platform == "linux":
        import resource

        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        answer = client.put("/api/uploads?name=a.mp4", content=bytes(200_000))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert answer.status_code == 507
        assert answer.json()["error"] == "The server cannot keep the files: File too large."
    time.sleep(0.5)
    assert len(list((server.folder / "visitors").glob("*/uploads/*"))) == before
    assert client.get("/api/uploads").json() == []
    assert "Traceback" not in server.log.read_text()


def test_a_second_server_is_refused_before_it_touches_anything(server, tmp_path):
    port = server.address.rpartition(":")[2]

    def started(*flags):
        command = [sys.executable, "web.py", *map(str, flags)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    code, error = started("--port", port, "--folder", tmp_path / "other")
    assert (code, "--port" in error, (tmp_path / "other").exists()) == (2, True, False)
    code, error = started("--port", int(port) + 1, "--folder", server.folder)
    assert code == 2 and error.startswith(f"error: --folder {server.folder}: in use by web.py")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
@pytest.mark.parametrize(("code", "seconds"), [("time.sleep(1); bytearray(3 << 30)", 60), ("time.sleep(60)", 1)])
def test_a_process_may_take_so_much_memory_and_time(tmp_path, code, seconds):
    began, lines = time.monotonic(), []
    assert (
        process.run_process(["-c", f"import time; {code}"], tmp_path, lines.append, seconds=seconds, gigabytes=1) != 0
    )
    assert time.monotonic() - began < 40 and ("MemoryError\n" in lines) == ("byte" in code)


@needs_proc
def test_a_killed_server_leaves_no_process_and_the_next_one_goes_on(tmp_path, enter):
    folder = tmp_path / "served"
    long = tmp_path / "long.wav"
    audio.save_wav(np.tile(audio.load_wav(SPEECH, 16_000), 20)[: 50 * 16_000], long, 16_000)
    server = Server(folder)
    try:
        client = enter(server)
        inputs = {"face": upload(client, MAN.face), "speech": upload(client, long)}
        running, waiting = submit(client, "dub", **inputs), submit(client, "preview", **inputs)
        job = client.get(f"/api/jobs/{running['id']}").json()
        while (job["progress"] or {}).get("what") in (None, "starting"):  # the sign of life of the script itself
            time.sleep(0.05)
            job = client.get(f"/api/jobs/{running['id']}").json()
        assert job["state"] == "running" and time.time() - job["started"] < 20
        assert len(processes_in(folder / "visitors")) >= 1
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        for _ in range(10 * process.LAST_SECONDS):
            if not processes_in(folder / "visitors"):
                break
            time.sleep(0.1)
        assert not processes_in(folder / "visitors")

        server = Server(folder, "--port", server.address.rpartition(":")[2])
        states = [job["state"] for job in client.get("/api/jobs").json()]
        assert states == ["waiting", "running"]
        client.post(f"/api/jobs/{waiting['id']}/cancel")
        began = time.monotonic()
        client.post(f"/api/jobs/{running['id']}/cancel")
        until(client, running, "cancelled")
        assert time.monotonic() - began < 10 and not processes_in(folder / "visitors")
        assert not list(folder.glob("visitors/*/jobs/*/*long.mp4"))
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(30) == 130
    finally:
        server.kill()
