"""The page's server over HTTP: visitors, uploads, jobs, and what it refuses. Jobs are a script that only waits."""

import itertools
import os
import re
import secrets
import time
from pathlib import Path

import pytest

from demo import showcase
from portrait import SPEECH
from utils.errors import InputError
from web.site import WebOptions, clean_name

pytest.importorskip("fastapi", reason="web.py needs requirements-web.txt")
testclient = pytest.importorskip("starlette.testclient", reason="needs requirements-dev.txt")

from web import forms, server  # noqa: E402
from web.jobs import Queue  # noqa: E402
from web.site import Site  # noqa: E402

SCRIPT = """import json, sys, time
from pathlib import Path
print(json.dumps({"what": "dubbing", "done": 1, "total": 4, "unit": "frame", "remaining": 3.0}), flush=True)
print("warning: --pads /etc/secret/file.mp4: is odd", flush=True)
print("remark: use --own_pixels", flush=True)
while not Path("end").exists():
    with open("beats", "a") as beats:
        beats.write(".")
    time.sleep(0.02)
if Path("end").read_text():
    print("error: --face face/a.mp4: no face", flush=True)
    sys.exit(2)
Path("a_b.mp4").write_text("video")
Path("a_b.mp4.html").write_text("<script>1</script>")
"""


class Page:
    """A server in this process."""

    def __init__(self, folder: Path, **options):
        self.site = Site(WebOptions(**{"folder": folder, "device": "cpu", "max_upload_mb": 1} | options))
        self.queue = Queue(self.site)
        self.app = server.build(self.site, self.queue)

    def visit(self, address="127.0.0.1", cookies=None, login=None):
        """A new visitor's client, whose requests come from the address."""
        client = testclient.TestClient(
            self.app, f"http://127.0.0.1:{self.site.options.port}", client=(address, 50000), cookies=cookies,
            raise_server_exceptions=False,
        )  # fmt: skip
        assert login is None or client.post("/api/login", json=login).status_code == 200
        client.get("/api/session")
        return client

    def folder(self, job):
        return self.queue.folder(self.queue.jobs[job["id"]])

    def finish(self, client, job, error=""):
        """Let the script of a job end; the job then."""
        (self.folder(job) / "end").write_text(error)
        return until(client, job, "done", "failed")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Start servers whose jobs run SCRIPT; they end with the test."""
    pages = []
    (tmp_path / "waits.py").write_text(SCRIPT)
    known = forms.command

    def command(site, job, device):
        known(site, job, device)  # refuses what cannot be
        return [str(tmp_path / "waits.py")]

    def start(name="web", **options):
        monkeypatch.setattr(forms, "command", command)
        pages.append(Page(tmp_path / name, **options))
        return pages[-1]

    yield start
    for page in pages:
        page.queue.stop()


@pytest.fixture
def page(make):
    return make()


def until(client, job, *states):
    for _ in range(1000):
        job = client.get(f"/api/jobs/{job['id']}").json()
        if job["state"] in states:
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def upload(client, path, name=None):
    answer = client.put("/api/uploads", params={"name": name or path.name}, content=path.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def given(monkeypatch):
    """Uploads that nobody looks at, quickly."""
    about = {"kind": "video", "seconds": 3.0, "width": 360, "height": 288, "has_sound": True}
    monkeypatch.setattr(server, "look", lambda path, shown, *arguments: dict(about))

    def upload_both(client):
        return {role: upload(client, SPEECH, f"{role}.mp4")["id"] for role in ("face", "speech")}

    return upload_both


def dub(client, inputs, status=201, **changes):
    request = {"kind": "dub", "inputs": inputs, "consent": True, "token": secrets.token_hex(8)} | changes
    answer = client.post("/api/jobs", json=request)
    assert answer.status_code == status, answer.text
    return answer.json()


def beating(page, job):
    """Whether the script of a job is running."""
    beats = page.folder(job) / "beats"
    size = beats.stat().st_size
    time.sleep(0.15)
    return beats.stat().st_size > size


# Uploads


def test_an_upload_is_once_on_disk_and_nothing_in_it_runs_in_the_page(page):
    client = page.visit()
    speech = upload(client, SPEECH, "../../<b>/speech.html")
    assert (speech["kind"], speech["name"], speech["has_sound"]) == ("sound", "speech.html", True)
    video = upload(client, showcase.PEOPLE[0].face)
    assert (video["kind"], video["width"], video["height"], video["seconds"]) == ("video", 360, 288, 9.0)
    for address in (speech["url"], video["url"], "/", "/api/jobs", "/nowhere"):
        headers = client.get(address).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["content-security-policy"]
    answer = client.get(speech["url"])
    assert answer.headers["content-type"] == "application/octet-stream" and answer.headers["content-disposition"]
    assert client.get(video["url"], headers={"Range": "bytes=0-9"}).status_code == 206
    files = [path for path in page.site.folder.rglob("*") if path.is_file() and path.stat().st_size > 9999]
    assert sorted(path.name for path in files) == ["file", "file.mp4"]
    assert all(path.stat().st_nlink == 1 for path in files)

    seen = client.post(f"/api/uploads/{video['id']}/look").json()
    assert len(seen["faces"]) == 1 and client.get(seen["picture"]).headers["content-type"] == "image/png"
    assert client.delete(f"/api/uploads/{video['id']}").status_code == 200
    assert [about["name"] for about in client.get("/api/uploads").json()] == ["speech.html"]


def test_what_cannot_be_taken_is_a_sentence_and_leaves_nothing(page, tmp_path, monkeypatch):
    client = page.visit()
    text = tmp_path / "<img src=x>.mp4"
    text.write_text("no video")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n")
    for path in (text, playlist):
        answer = client.put("/api/uploads", params={"name": path.name}, content=path.read_bytes())
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(clean_name(path.name)) and "/" not in answer.json()["error"]

    large = client.put("/api/uploads?name=a.mp4", content=iter([bytes(600_000)] * 2))  # without a length
    announced = client.put("/api/uploads?name=a.mp4", content=bytes(1_100_000))
    for answer in (large, announced):
        assert (answer.status_code, answer.json()["error"]) == (
            413,
            "This is larger than the 1 MB that you may upload here.",
        )
    monkeypatch.setattr("web.site.DISK_RESERVE", 1 << 60)
    full = client.put("/api/uploads?name=a.mp4", content=b"0")
    assert full.status_code == 507 and "disk is full" in full.json()["error"]
    assert not list(page.site.visitors.glob("*/uploads/*"))


def test_uploads_are_limited_in_length_and_for_each_visitor(make, given):
    page = make(max_visitor_mb=1, max_seconds=2)
    client = page.visit()
    answer = client.put("/api/uploads?name=a.mp4", content=b"0")
    assert (answer.status_code, answer.json()["error"]) == (413, "This lasts 3 s; up to 2 s are taken.")
    kept = page.site.visitors / "x" / "uploads"
    with page.site.new_upload(page.site.visitor(page.site.cookie("x"), False), "a.mp4") as (path, _):
        path.write_bytes(bytes(1_000_001))
    with pytest.raises(InputError, match="take up the 1 MB"):
        page.site.room(page.site.visitor(page.site.cookie("x"), False))
    assert not kept.exists()  # the folder's name is a digest


# Visitors


def test_nothing_of_a_visitor_is_seen_by_another(page, given):
    anna, berta = page.visit(), page.visit()
    inputs = given(anna)
    job = dub(anna, inputs)
    job = page.finish(anna, job)
    own = [result["url"] for result in job["results"] if result["role"] != "page"] + [
        f"/uploads/{inputs['face']}/media"
    ]
    assert all(anna.get(url).status_code == 200 for url in own)
    for url in (*own, f"/api/jobs/{job['id']}"):
        assert berta.get(url).status_code == 404
    for request in (berta.delete, berta.post):
        assert request(f"/api/jobs/{job['id']}{'/cancel' if request == berta.post else ''}").status_code == 404
    assert berta.delete(f"/api/uploads/{inputs['face']}").status_code == 404
    assert dub(berta, inputs, status=400)["field"] == "face"
    assert berta.get("/api/jobs").json() == berta.get("/api/uploads").json() == []
    (shown,) = [result["url"] for result in job["results"] if result["role"] == "page"]
    answer = berta.get(shown)  # by its address, which only anna knows
    assert (answer.status_code, answer.headers["content-security-policy"]) == (200, "sandbox allow-scripts")
    assert berta.get(re.sub(r"/[0-9a-f]{32}/a_b", "/" + "0" * 32 + "/a_b", shown)).status_code == 404


def test_no_address_leads_out_of_a_jobs_folder(page, given):
    client = page.visit()
    job = page.finish(client, dub(client, given(client)))
    (page.folder(job) / "link.html").symlink_to("/etc/passwd")
    (page.folder(job) / "best.pth").write_text("root:")
    for name in (
        "job.json", "best.pth", "link.html", "..%2f..%2f..%2fsecret", "%2e%2e/%2e%2e/uploads",
        "/etc/passwd", "%2fetc%2fpasswd", "",
    ):  # fmt: skip
        answer = client.get(f"/jobs/{job['id']}/files/{name}")
        assert answer.status_code == 404 and "root:" not in answer.text, name
    for path in ("/docs", "/openapi.json", "/static/../site.py", "/static/%2e%2e/site.py", "/uploads/../x/media"):
        assert client.get(path).status_code in (404, 405), path


def test_a_visitor_is_known_again_by_the_next_server(make, given):
    page = make()
    client = page.visit("10.0.0.9")
    done = page.finish(client, dub(client, inputs := given(client)))
    running, waiting = dub(client, inputs), dub(client, inputs)
    until(client, running, "running")
    page.queue.stop()
    page = make()
    client = page.visit("10.0.0.9", cookies=dict(client.cookies))
    states = {job["id"]: job["state"] for job in client.get("/api/jobs").json()}
    assert states[done["id"]] == "done" and states[waiting["id"]] == "waiting"
    until(client, running, "running")
    stranger = page.visit("10.0.0.9", cookies={f"visitor{page.site.options.port}": "0" * 32 + "." + "0" * 32})
    assert stranger.get("/api/jobs").json() == []


def test_a_login_is_asked_for_and_wrong_passwords_slow_down(make, given, monkeypatch):
    monkeypatch.setenv("WAV2LIP_AUTH", "anna:one berta:two")
    page = make(auth=True)
    client = page.visit("10.0.0.9")
    assert client.get("/api/session").json()["user"] is None and client.get("/api/jobs").status_code == 401
    answers = [client.post("/api/login", json={"user": "anna", "password": "x"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 429, 429]
    assert "try again in 1 s" in answers[2].json()["error"]
    anna = page.visit("10.0.0.8", login={"user": "anna", "password": "one"})
    phone = page.visit("10.0.0.7", login={"user": "anna", "password": "one"})
    berta = page.visit("10.0.0.8", login={"user": "berta", "password": "two"})
    assert [who.get("/api/session").json()["owner"] for who in (anna, phone, berta)] == [True, True, False]
    job = dub(anna, given(anna))
    assert [entry["id"] for entry in phone.get("/api/jobs").json()] == [job["id"]] and not berta.get("/api/jobs").json()
    cookies = dict(anna.cookies)
    monkeypatch.setenv("WAV2LIP_AUTH", "anna:new")
    assert make("web2", auth=True).visit(cookies=cookies).get("/api/jobs").status_code == 401
    assert anna.post("/api/logout").status_code == 200 and anna.get("/api/jobs").status_code == 401


def test_only_the_owner_trains_and_fetches(make, tmp_path, given):
    (tmp_path / "videos" / "anna").mkdir(parents=True)
    page = make(train_root=tmp_path / "videos")
    home, guest = page.visit(), page.visit("10.0.0.9")
    assert home.get("/api/session").json()["trainable"] == ["anna"]
    assert guest.get("/api/session").json()["trainable"] == guest.get("/api/settings").json()["weights"] == []
    for kind, inputs in (("train", {"videos": "anna"}), ("fetch", {"weights": "s3fd"})):
        assert dub(guest, inputs, kind=kind, status=403)["error"] == "Only the owner of this server may do that."
    behind = {"x-forwarded-for": "10.0.0.9"}  # another server on this machine
    assert (
        home.post("/api/jobs", json={"kind": "fetch", "inputs": {"weights": "s3fd"}}, headers=behind).status_code == 403
    )
    job = dub(home, {"videos": "anna"}, kind="train")
    assert dub(home, {"videos": "anna"}, kind="train", status=409)["field"] == "videos"
    assert dub(home, {"videos": "berta"}, kind="train", status=400)["field"] == "videos"
    until(home, job, "running")
    own = [upload(home, SPEECH, "me.mp4")["id"]]
    learnt = dub(home, {"videos": own}, kind="train", settings={"minutes": 1})
    assert str(tmp_path) not in home.get("/api/jobs").text
    (copy,) = page.site.runs.glob("*/videos/*me.mp4")
    (copy.parent.parent / "generator").mkdir()
    (copy.parent.parent / "generator" / "best.pth").touch()
    trained = {generator["name"]: generator["id"] for generator in home.get("/api/settings").json()["generators"]}
    assert forms.dub_options(page.site, True, {"checkpoint_path": trained["me.mp4: generator"]}).checkpoint_path
    assert "me.mp4" not in guest.get("/api/settings").text
    assert copy.stat().st_nlink == 2 and learnt["title"] == "me.mp4"


def test_other_sites_and_names_are_refused(page):
    client = page.visit()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        answer = client.put("/api/uploads?name=a.mp4", content=b"0", headers={"Origin": origin})
        assert answer.status_code == 403, origin
    assert (
        client.post("/api/logout", headers={"Origin": f"http://127.0.0.1:{page.site.options.port}"}).status_code == 200
    )
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "10.0.0.1", ""):
        assert client.get("/api/session", headers={"Host": host}).status_code == 421, host
    for host in ("localhost", "localhost:9", "127.0.0.1", "[::1]:7860"):
        assert client.get("/api/session", headers={"Host": host}).status_code == 200, host
    assert client.post("/api/login", content=b"0" * 1_100_000).status_code == 413


def test_a_page_for_others_needs_a_password_or_the_word_open(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^--host 0\.0\.0\.0: .*--auth, or --open"):
        WebOptions(host="0.0.0.0")
    site = Site(WebOptions(host="0.0.0.0", open=True, allowed_hosts="dubs.example", folder=tmp_path))
    assert [site.knows(host) for host in ("dubs.example", "10.0.0.1:7860", "evil.example")] == [True, True, False]
    monkeypatch.delenv("WAV2LIP_AUTH", raising=False)
    for text in ("", "anna", "anna:", "anna:x :y"):
        monkeypatch.setenv("WAV2LIP_AUTH", text)
        with pytest.raises(InputError, match="--auth: set the environment variable"):
            WebOptions(auth=True).users()


# Jobs


def test_a_double_click_makes_one_job_and_the_sixth_that_waits_is_refused(page, given):
    client = page.visit()
    inputs = given(client)
    first = dub(client, inputs, token="press")
    assert dub(client, inputs, token="press")["id"] == first["id"]
    until(client, first, "running")
    waiting = [dub(client, inputs) for _ in range(5)]
    assert [job["place"] for job in waiting] == [1, 2, 3, 4, 5]
    assert "5 of your jobs are waiting" in dub(client, inputs, status=429)["error"]
    other = page.visit()
    assert dub(other, given(other))["place"] == 6
    client.post(f"/api/jobs/{waiting[0]['id']}/cancel")
    listed = client.get("/api/jobs").json()
    assert [(job["state"], job["place"]) for job in listed[-3:]] == [
        ("waiting", 1),
        ("cancelled", None),
        ("running", None),
    ]
    link = page.folder(waiting[1]) / "face" / "face.mp4"
    assert link.stat().st_nlink == 7  # once on disk


def test_cancel_ends_a_job_within_a_second(page, given):
    client = page.visit()
    job = until(client, dub(client, given(client)), "running")
    while not (page.folder(job) / "beats").exists() or job["progress"] == {"what": "starting"}:
        time.sleep(0.01)
        job = client.get(f"/api/jobs/{job['id']}").json()
    assert job["progress"] == {"what": "dubbing", "done": 1, "total": 4, "unit": "frame", "remaining_s": 3.0}
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 409
    began = time.monotonic()
    client.post(f"/api/jobs/{job['id']}/cancel")
    until(client, job, "cancelled")
    assert time.monotonic() - began < 5 and not beating(page, job)


def test_a_job_says_what_came_of_it_and_can_be_done_again(page, given):
    client = page.visit()
    job = page.finish(client, dub(client, given(client), settings={"pads": "0 20 0 0"}), error="yes")
    assert (job["state"], job["message"]) == ("failed", "“face” face/a.mp4: no face")
    assert job["advice"] == ["“pads” file.mp4: is odd", "use “own pixels”"]
    assert client.delete(f"/api/uploads/{job['inputs']['face']['id']}").status_code == 200
    again = client.post(f"/api/jobs/{job['id']}/again").json()
    assert again["settings"] == {"pads": "0 20 0 0"} and again["id"] != job["id"]
    again = page.finish(client, again)
    roles = {result["role"]: result for result in again["results"]}
    assert again["state"] == "done" and set(roles) == {"video", "page", "log"}
    saved = client.get(roles["video"]["url"] + "?download=1").headers["content-disposition"]
    assert saved == "attachment; filename*=UTF-8''a_b.mp4"
    log = client.get(roles["log"]["url"]).text
    assert "file.mp4" in log and "/etc" not in log and "what" not in log
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200 and not page.queue.jobs.get(job["id"])


def test_a_job_that_takes_too_long_is_ended(make, given):
    page = make(max_job_minutes=0.01)
    client = page.visit()
    job = until(client, dub(client, given(client)), "failed")
    assert job["message"] == "It took longer than the 0.01 minutes that a job may take here."


def test_old_files_are_deleted_but_those_of_live_jobs(page, given):
    client = page.visit()
    inputs = given(client)
    old, running = page.finish(client, dub(client, inputs)), dub(client, inputs)
    until(client, running, "running")
    page.queue.delete_old()
    assert len(client.get("/api/uploads").json()) == 2
    for path in page.site.visitors.glob("*/uploads/*"):
        os.utime(path, (1, 1))
    for job in page.queue.jobs.values():
        job.created, job.ended = 1.0, job.ended and 1.0
    page.queue.delete_old()
    assert client.get("/api/uploads").json() == [] and [job["id"] for job in client.get("/api/jobs").json()] == [
        running["id"]
    ]
    assert old["expires"] == pytest.approx(old["ended"] + 24 * 3600) and page.finish(client, running)["state"] == "done"


# Settings


def test_settings_are_in_groups_and_everything_offered_works(page):
    offered = page.visit().get("/api/settings").json()
    assert [group["id"] for group in offered["groups"]] == ["face", "speech", "mouth", "output", "networks"]
    settings = list(itertools.chain(*(group["settings"] for group in offered["groups"])))
    assert not [setting["help"] for setting in settings if "--" in setting["help"]]
    assert "wav2lip_small" in [generator["id"] for generator in offered["generators"]]
    for setting in settings:
        for choice in setting["choices"] or ():
            forms.dub_options(page.site, True, {setting["name"]: choice})
        if setting["maximum"] is not None:
            with pytest.raises(InputError):
                forms.dub_options(page.site, True, {setting["name"]: setting["maximum"] + 1})


@pytest.mark.parametrize(("settings", "field"), [
    ({"pads": "1 2"}, "pads"), ({"checkpoint_path": "/etc/passwd"}, "checkpoint_path"), ({"paste": "glue"}, "paste"),
    ({"wav2lip_batch_size": 65}, "wav2lip_batch_size"), ({"wav2lip_batch_size": "9"}, "wav2lip_batch_size"),
    ({"device": "cuda:7"}, "device"), ({"start": 2, "end": 1}, "end"), ({"mouths_from": "/etc"}, "mouths_from"),
])  # fmt: skip
def test_a_wrong_setting_is_named(page, given, settings, field):
    client = page.visit()
    problem = dub(client, given(client), status=400, settings=settings)
    assert problem["field"] == field and "--" not in problem["error"]


def test_what_a_job_lacks_is_named(page, given):
    client = page.visit()
    inputs = given(client)
    assert dub(client, {}, status=400)["field"] == "face"
    assert dub(client, inputs, status=400, consent=False)["field"] == "consent"
    assert dub(client, inputs, status=400, kind="steal")["field"] == "kind"
    assert client.post("/api/jobs", json={"inputs": 3}).status_code == 400


def test_settings_that_exclude_each_other_are_brought_together(page):
    def options(**given):
        return forms.dub_options(page.site, True, given, height=288)

    assert options(face_at="100,50", resize_factor=2).face_at == (50.0, 25.0)
    assert options(face_at="100,50", rotate=True).face_at == (237.0, 100.0)
    assert options(face_at="100,50", crop="10 -1 20 -1").face_at == (80.0, 40.0)
    assert options(own_pixels="on", paste="box").own_pixels == "auto"
    assert options(codec="ffv1", crf=20).crf is None
