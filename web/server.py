"""The page over HTTP: the static page, and JSON for it and for programs (docs/web.md)."""

import asyncio
import json
import os
import secrets
import shutil
import socket
import time
from contextlib import suppress
from math import ceil
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from models.published import ROOT, published
from utils.errors import InputError
from utils.files import exclusive_lock, write_json, write_text
from utils.process import run_process
from web import forms
from web.jobs import Queue, link
from web.site import HOUR, MB, Refused, Site, Visitor, WebOptions, is_loopback, media_suffix, sentence, without_flags

STATIC, DEMO = Path(__file__).parent / "static", ROOT / "demo"
COOKIE, COOKIE_SECONDS = "visitor", 30 * 24 * HOUR
LOOKS, LOOK_SECONDS, LOOK_GB = 2, 60, 8  # at once, and what one may take
LARGEST_REQUEST = MB  # bytes of JSON
LONGEST_WAIT = 60  # seconds, after wrong passwords
EXAMPLES = [
    {"face": f"{name}.mp4", "speech": f"{name}_speech.ogg", "result": f"{name}_dubbed.mp4"} for name in ("woman", "man")
]
PAGE_RULES = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)


class Login(BaseModel):
    user: str
    password: str


class Look(BaseModel):
    start: float = 0.0  # seconds


class JobRequest(BaseModel):
    kind: str
    inputs: dict[str, str | list[str]] = {}
    settings: dict[str, str | float | bool | None] = {}
    consent: bool = False
    token: str = ""


def refusal(request: Request, site: Site) -> Response | None:
    """The answer to what this server, or another site in the same browser, may not be asked."""
    host, length = request.headers.get("host", ""), request.headers.get("content-length", "0")
    if not site.knows(host):
        return error_answer(f"This server is not called {host[:100]}; --allowed_hosts gives it more names.", 421)
    if request.method in ("GET", "HEAD"):
        return None
    if urlsplit(request.headers.get("origin", f"//{host}")).netloc != host:
        return error_answer("Another site asked for this; only this page may.", 403)
    small = "transfer-encoding" not in request.headers and length.isdigit() and int(length) <= LARGEST_REQUEST
    return None if small or request.method == "PUT" else error_answer("This request is too large.", 413)


def error_answer(text: str, status: int, field: str | None = None) -> JSONResponse:
    return JSONResponse({"error": text, "field": field}, status)


async def told(request: Request, problem: Exception) -> Response:
    """What went wrong, in a sentence."""
    if isinstance(problem, ClientDisconnect):
        return Response(status_code=400)  # nobody gets it
    if isinstance(problem, Refused):
        return error_answer(str(problem), problem.status, problem.field)
    if isinstance(problem, RequestValidationError):
        first = problem.errors()[0]
        return error_answer(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}.", 400, str(first["loc"][-1]))
    return error_answer(sentence(problem), 507 if isinstance(problem, OSError) else 400)


def file_answer(path: Path, download: bool = False, name: str = "") -> Response:
    """A file, with the type of media, or of what the scripts write; of no other. Pages may run their scripts."""
    suffix = path.suffix.lower()
    known = guess_type(path.name)[0] if media_suffix(path.name) or suffix in (".html", ".json", ".txt") else None
    headers = {"Content-Security-Policy": "sandbox allow-scripts" if suffix == ".html" else "sandbox"}
    if download or not known:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name or path.name)}"
    return FileResponse(path, media_type=known or "application/octet-stream", headers=headers)


def look(path: Path, shown: str, *arguments: str) -> dict[str, Any]:
    """What `python -m web.look` says of a file. Raises Refused, which calls it by the name `shown`."""
    lines: list[str] = []
    code = run_process(["-m", "web.look", *arguments, path.name], path.parent, lines.append, LOOK_SECONDS, LOOK_GB)
    answers = [line for line in lines if not line.startswith('{"what"')]
    if code == 0:
        return json.loads(answers[-1])
    errors = [line.strip().removeprefix("error: ") for line in answers if line.startswith("error: ")]
    text = errors[-1].replace(path.name, shown, 1) if errors else f"{shown}: cannot be read within {LOOK_SECONDS} s"
    raise Refused(without_flags(text))


def build(site: Site, queue: Queue) -> FastAPI:
    """All addresses of the server."""
    app, options = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), site.options
    for kind in (InputError, RequestValidationError, OSError, ClientDisconnect):
        app.add_exception_handler(kind, told)

    @app.middleware("http")
    async def guard(request: Request, answer_to: Any) -> Response:
        answer = refusal(request, site) or await answer_to(request)
        answer.headers.update({"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"})
        answer.headers.setdefault("Content-Security-Policy", "sandbox")
        answer.headers.setdefault("Cache-Control", "no-cache")
        return answer

    looking = asyncio.Semaphore(LOOKS)
    cookie = f"{COOKIE}{options.port}"  # browsers tell servers on one machine apart by that alone
    failed: dict[str, tuple[int, float]] = {}  # by address: wrong passwords, and when the next may be tried

    # Visitors

    def known(request: Request) -> Visitor | None:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        client = request.client.host if request.client else ""
        here = is_loopback(host) and is_loopback(client) and "x-forwarded-for" not in request.headers
        return site.visitor(request.cookies.get(cookie, ""), here)

    def needed(request: Request) -> Visitor:
        if found := known(request):
            return found
        raise Refused("Log in first." if site.users else "Load the page first: GET /api/session.", status=401)

    Who = Annotated[Visitor, Depends(needed)]

    def remember(answer: Response, name: str) -> Response:
        answer.set_cookie(cookie, site.cookie(name), COOKIE_SECONDS, httponly=True, samesite="strict")
        return answer

    @app.get("/api/session")
    def session(request: Request) -> Response:
        if not known(request) and not site.users:
            name = secrets.token_hex(16)
            request.cookies[cookie] = site.cookie(name)
        found = known(request)
        owner = found is not None and found.owner
        limits = {
            "upload_mb": options.max_upload_mb, "visitor_mb": options.max_visitor_mb, "seconds": options.max_seconds,
            "waiting": options.max_waiting, "hours": options.keep_hours,
        }  # fmt: skip
        answer = JSONResponse({
            "user": found.name if found and site.users else None, "owner": owner, "auth": bool(site.users),
            "devices": site.devices, "pace": queue.pace(), "limits": limits,
            "trainable": list(site.video_folders()) if owner else [],
        })  # fmt: skip
        return remember(answer, found.name) if found else answer

    @app.post("/api/login")
    def login(request: Request, given: Login) -> Response:
        address = request.client.host if request.client else ""
        count, after = failed.get(address, (0, 0.0))
        if time.time() < after:
            raise Refused(f"Too many wrong passwords; try again in {ceil(after - time.time())} s.", "password", 429)
        if not site.accepts(given.user, given.password):
            failed[address] = count + 1, time.time() + min(LONGEST_WAIT, 2 ** (count - 1))
            raise Refused("User or password is wrong.", "password", 401)
        failed.pop(address, None)
        return remember(JSONResponse({"user": given.user}), given.user)

    @app.post("/api/logout")
    def logout() -> Response:
        answer = JSONResponse({})
        answer.delete_cookie(cookie)
        return answer

    @app.get("/api/settings")
    def settings(who: Who) -> dict[str, Any]:
        return forms.offered(site, who.owner)

    # Uploads

    def upload_view(about: dict[str, Any]) -> dict[str, Any]:
        expires = about["created"] + HOUR * options.keep_hours
        return about | {"url": f"/uploads/{about['id']}/media", "expires": expires}

    async def looked_at(path: Path, shown: str, *arguments: str) -> dict[str, Any]:
        async with looking:
            return await asyncio.to_thread(look, path, shown, *arguments)

    async def take(who: Visitor, name: str, blocks: Any, size: int = 0) -> dict[str, Any]:
        """The blocks as a new upload of the visitor. size: as announced, in bytes."""
        room = site.room(who)
        too_large = Refused(f"This is larger than the {room / MB:.0f} MB that you may upload here.", status=413)
        if size > room:
            raise too_large
        with site.new_upload(who, name) as (path, about):
            with path.open("wb") as file:
                async for block in blocks:
                    file.write(block)
                    if file.tell() > room:
                        raise too_large
                    site.check_disk()
            about |= await looked_at(path, about["name"], "about") | {"bytes": path.stat().st_size}
            if (about["seconds"] or 0) > options.max_seconds:
                most = f"up to {options.max_seconds:g} s are taken"
                raise Refused(f"This lasts {about['seconds']:.0f} s; {most}.", status=413)
            site.room(who)  # others may have been uploaded at the same time
        return upload_view(about)

    @app.put("/api/uploads", status_code=201)
    async def put_upload(request: Request, who: Who, name: str) -> dict[str, Any]:
        return await take(who, name, request.stream(), int(request.headers.get("content-length", 0)))

    @app.get("/api/uploads")
    def get_uploads(who: Who) -> list[dict[str, Any]]:
        return [upload_view(about) for about in site.uploads(who)]

    @app.delete("/api/uploads/{key}")
    def delete_upload(who: Who, key: str) -> dict[str, Any]:
        shutil.rmtree(site.upload(who, key)[0].parent)
        return {}

    @app.get("/uploads/{key}/{what}")
    def media(who: Who, key: str, what: str) -> Response:
        path, about = site.upload(who, key)
        return file_answer(path if what == "media" else path.with_name("first.png"), name=about["name"])

    @app.post("/api/uploads/{key}/look")
    async def look_at(who: Who, key: str, given: Look | None = None) -> dict[str, Any]:
        path, about = site.upload(who, key)
        start = f"{given.start if given else 0:g}"
        found = await looked_at(path, about["name"], "faces", "--start", start)
        about |= {"width": found["width"], "height": found["height"]}  # in which a face is clicked
        write_json(path.with_name("about.json"), about)
        return found | {"picture": f"/uploads/{key}/picture?start={start}"}

    @app.get("/api/examples")
    def examples() -> list[dict[str, Any]]:
        return [
            {role: {"name": name, "url": f"/examples/{name}"} for role, name in one.items()}
            | {"result": f"/examples/{one['result']}"}
            for one in EXAMPLES
        ]

    @app.get("/examples/{name}")
    def example(name: str) -> Response:
        if name not in [name for one in EXAMPLES for name in one.values()]:
            raise Refused("There is no such example.", status=404)
        return file_answer(DEMO / name)

    @app.post("/api/examples/{number}", status_code=201)
    async def use_example(who: Who, number: int) -> dict[str, Any]:
        if not 0 <= number < len(EXAMPLES):
            raise Refused("There is no such example.", status=404)

        async def content(name: str) -> Any:
            yield (DEMO / name).read_bytes()

        names = {role: EXAMPLES[number][role] for role in ("face", "speech")}
        return {role: await take(who, name, content(name)) for role, name in names.items()}

    # Jobs

    def training_videos(who: Visitor, value: str | list[str]) -> dict[str, str]:
        """A folder of --train_root, or uploads, which the training keeps."""
        if isinstance(value, str):
            if value not in site.video_folders():
                raise Refused("Choose a folder of videos.", "videos")
            found, key, name = [], value, value
        else:
            found = [site.upload(who, key, "videos") for key in sorted(set(value))]
            key, name = " ".join(sorted(set(value))), ", ".join(about["name"] for _, about in found)
        for path, about in found:
            with suppress(FileExistsError):
                link(path, site.videos(key) / f"{about['id'][:8]} {about['name']}")
        site.run_folder(key).mkdir(exist_ok=True)
        write_text(site.run_folder(key) / forms.NAME, name)
        return {"id": key, "name": name}

    @app.post("/api/jobs", status_code=201)
    def submit(who: Who, given: JobRequest) -> dict[str, Any]:
        if given.kind not in forms.INPUTS:
            raise Refused(f"There is no such job; choose from {', '.join(forms.INPUTS)}.", "kind")
        queue.check_owner(who, given.kind)
        needed, optional = (roles.split() for roles in forms.INPUTS[given.kind])
        inputs, sources = {}, {}
        for role in (*needed, *optional):
            value: Any = given.inputs.get(role)
            if not value and role in needed:
                raise Refused(forms.MISSING[role], role)
            if value and role == "weights":
                inputs[role] = {"id": published(value).name, "name": value}
            elif value and role == "videos":
                inputs[role] = training_videos(who, value)
            elif value:
                sources[role], inputs[role] = site.upload(who, value, role)
        if given.kind in forms.OF_A_PERSON and not given.consent:
            raise Refused("Confirm that you have the right to dub this person.", "consent")
        token = given.token or secrets.token_hex(16)
        return queue.view(queue.submit(who, given.kind, inputs, given.settings, token, sources))

    @app.get("/api/jobs")
    def get_jobs(who: Who) -> list[dict[str, Any]]:
        return [queue.view(job) for job in queue.of(who)]

    @app.get("/api/jobs/{key}")
    def get_job(who: Who, key: str) -> dict[str, Any]:
        return queue.view(queue.get(who, key))

    @app.post("/api/jobs/{key}/cancel")
    def cancel(who: Who, key: str) -> dict[str, Any]:
        queue.cancel(queue.get(who, key))
        return get_job(who, key)

    @app.post("/api/jobs/{key}/again", status_code=201)
    def again(who: Who, key: str) -> dict[str, Any]:
        return queue.view(queue.again(who, key))

    @app.delete("/api/jobs/{key}")
    def delete(who: Who, key: str) -> dict[str, Any]:
        queue.delete(queue.get(who, key))
        return {}

    @app.get("/jobs/{key}/files/{name:path}")
    def job_file(who: Who, key: str, name: str, download: bool = False) -> Response:
        return file_answer(queue.file(queue.get(who, key), name), download)

    @app.get("/pages/{key}/{code}/{name:path}")
    def job_page(key: str, code: str, name: str) -> Response:
        if key not in queue.jobs or not secrets.compare_digest(code.encode(), site.signed(key).encode()):
            raise Refused("This page is no longer here.", status=404)
        return file_answer(queue.file(queue.jobs[key], name))

    # The page

    @app.get("/health")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/")
    @app.get("/{tab}")
    @app.get("/jobs/{key}")
    def index(tab: str = "jobs", key: str = "") -> Response:
        if tab not in ("jobs", "train", "score"):
            raise Refused("There is no such page.", status=404)
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": PAGE_RULES})

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def serve(options: WebOptions) -> None:
    """Serve the page until the process is stopped."""
    options.users()
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((options.host, options.port), family=family)
    except OSError as problem:
        where = f"--host {options.host} --port {options.port}"
        raise InputError(f"{where}: {problem.strerror or problem}; give another --port") from problem
    with listening, exclusive_lock(options.folder, "--folder"):
        os.umask(0o077)  # what is written from now on is for this user alone
        site = Site(options)
        queue = Queue(site)
        host = "127.0.0.1" if options.host in ("0.0.0.0", "::") else options.host
        print(f"open http://{host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
        server = uvicorn.Config(
            build(site, queue), log_level="warning", access_log=False, proxy_headers=False, server_header=False,
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        try:
            uvicorn.Server(server).run(sockets=[listening])
        finally:
            queue.stop()
