"""The page over HTTP: the static page, and JSON for it and for programs (docs/web.md)."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders

from models.published import ROOT, published
from utils.errors import InputError
from utils.files import exclusive_lock, write_json
from web import forms
from web.jobs import ENVIRONMENT, Queue
from web.site import MB, Refused, Site, Visitor, WebOptions, is_loopback

STATIC, DEMO = Path(__file__).parent / "static", ROOT / "demo"
COOKIE, COOKIE_SECONDS = "visitor", 30 * 24 * 3600
LOOKS, LOOK_SECONDS = 2, 60  # at once, and how long one may take
LARGEST_REQUEST = MB  # bytes of JSON
PAGE_RULES = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)
TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska",
    ".ogv": "video/ogg", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
    ".gif": "image/gif", ".avif": "image/avif", ".bmp": "image/bmp", ".wav": "audio/wav", ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4", ".aac": "audio/aac", ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".json": "application/json", ".html": "text/html; charset=utf-8", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
EXAMPLES = tuple(
    {"face": f"{name}.mp4", "speech": f"{name}_speech.ogg", "result": f"{name}_dubbed.mp4"} for name in ("woman", "man")
)


class Login(BaseModel):
    user: str
    password: str


class Look(BaseModel):
    start: float = 0.0


class JobRequest(BaseModel):
    kind: str
    inputs: dict[str, str | list[str]] = {}
    settings: dict[str, Any] = {}
    consent: bool = False
    token: str = ""


class Guard:
    """Around the app: whose pages may ask, how much a request may hold, and headers of every answer."""

    def __init__(self, app: Any, site: Site) -> None:
        self.app, self.site = app, site

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers.setdefault("Content-Security-Policy", "sandbox")
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        if refused := self._refusal(scope["method"], Headers(scope=scope)):
            return await refused(scope, receive, send_safely)
        await self.app(scope, receive, send_safely)

    def _refusal(self, method: str, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.site.knows(host):
            return error(f"This server is not called {host[:100]}; start it with --allowed_hosts.", 421)
        if method in ("GET", "HEAD"):
            return None
        if (origin is not None and urlsplit(origin).netloc != host) or headers.get("sec-fetch-site") == "cross-site":
            return error("Another site asked for this; only this page may.", 403)
        length = headers.get("content-length", "0")
        if method != "PUT" and (
            "transfer-encoding" in headers or not length.isdigit() or int(length) > LARGEST_REQUEST
        ):
            return error("This request is too large.", 413)
        return None


def error(text: str, status: int, field: str | None = None) -> JSONResponse:
    return JSONResponse({"error": text, "field": field}, status)


def build(site: Site, queue: Queue) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, site=site)
    looking = asyncio.Semaphore(LOOKS)
    failures: dict[str, tuple[int, float]] = {}  # logins by address: how many failed, and when it may try again

    @app.exception_handler(Refused)
    async def refused(request: Request, problem: Refused) -> JSONResponse:
        return error(str(problem), problem.status, problem.field)

    @app.exception_handler(InputError)
    async def wrong(request: Request, problem: InputError) -> JSONResponse:
        return error(forms.without_flags(str(problem)), 400)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, problem: RequestValidationError) -> JSONResponse:
        first = problem.errors()[0]
        return error(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}.", 400, str(first["loc"][-1]))

    @app.exception_handler(OSError)
    async def full(request: Request, problem: OSError) -> JSONResponse:
        return error(f"The server cannot keep the files ({problem.strerror}).", 507)

    def at_home(request: Request) -> bool:
        """Whether a browser on this machine asks, not one behind another server."""
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
        return bool(request.client) and is_loopback(request.client.host) and is_loopback(host) and not forwarded

    def known(request: Request) -> Visitor | None:
        return site.visitor(request.cookies.get(COOKIE, ""), at_home(request))

    def visitor(request: Request) -> Visitor:
        if found := known(request):
            return found
        raise Refused("Log in first." if site.users else "Load the page first: GET /api/session.", status=401)

    Known = Annotated[Visitor, Depends(visitor)]

    def remember(answer: Response, name: str) -> None:
        answer.set_cookie(COOKIE, site.cookie(name), COOKIE_SECONDS, httponly=True, samesite="strict")

    @app.get("/health")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/api/session")
    def session(request: Request) -> JSONResponse:
        found, new = known(request), None
        if not found and not site.users:
            new = os.urandom(16).hex()
            found = site.visitor(site.cookie(new), at_home(request))
        options = site.options
        answer = JSONResponse({
            "user": found.name if found and site.users else None, "owner": bool(found and found.owner),
            "auth": bool(site.users), "devices": site.devices, "pace": queue.pace(),
            "trainable": list(site.video_folders()) if found and found.owner else [],
            "limits": {
                "upload_mb": options.max_upload_mb, "visitor_mb": options.max_visitor_mb,
                "seconds": options.max_seconds, "waiting": options.max_waiting, "hours": options.keep_hours,
            },
        })  # fmt: skip
        if new:
            remember(answer, new)
        return answer

    @app.post("/api/login")
    def login(request: Request, given: Login) -> JSONResponse:
        address = request.client.host if request.client else ""
        count, again = failures.get(address, (0, 0.0))
        if time.time() < again:
            return error(f"Too many wrong passwords; try again in {again - time.time():.0f} s.", 429)
        if not site.accepts(given.user, given.password):
            failures[address] = (count + 1, time.time() + min(60, 2 ** (count - 1)))
            return error("User or password is wrong.", 401, "password")
        failures.pop(address, None)
        answer = JSONResponse({"user": given.user})
        remember(answer, given.user)
        return answer

    @app.post("/api/logout")
    def logout() -> JSONResponse:
        answer = JSONResponse({})
        answer.delete_cookie(COOKIE)
        return answer

    @app.get("/api/settings")
    def settings(who: Known) -> dict[str, Any]:
        return forms.offered(site, who.owner)

    # Uploads

    async def look(*arguments: str | Path, folder: Path) -> dict[str, Any]:
        """What `python -m web.look` prints. Raises Refused with its error."""
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
        async with looking:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "web.look", *map(str, arguments), cwd=folder, env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout and process.stderr
            try:
                output, log = await asyncio.wait_for(
                    asyncio.gather(process.stdout.read(), process.stderr.read()), LOOK_SECONDS
                )
            except TimeoutError as late:
                raise Refused("This file takes too long to read.") from late
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        lines = [line for line in log.decode(errors="replace").splitlines() if line.startswith("error: ")]
        if not output:
            text = lines[-1].removeprefix("error: ") if lines else "This file cannot be read."
            raise Refused(forms.without_flags(text))
        return json.loads(output)

    def shown(about: dict[str, Any]) -> dict[str, Any]:
        url = f"/uploads/{about['id']}/media"
        return about | {"url": url, "expires": about["created"] + 3600 * site.options.keep_hours}

    async def finish_upload(path: Path, about: dict[str, Any]) -> None:
        try:
            found = await look("about", path.name, folder=path.parent)
        except Refused as problem:
            raise Refused(str(problem).replace(path.name, about["name"], 1)) from problem
        if (found["seconds"] or 0) > site.options.max_seconds:
            text = f"{about['name']} lasts {found['seconds']:.0f} s; this server takes {site.options.max_seconds:g} s."
            raise Refused(text, status=413)
        about |= found | {"bytes": path.stat().st_size}

    @app.put("/api/uploads", status_code=201)
    async def put_upload(request: Request, who: Known, name: str) -> dict[str, Any]:
        site.check_disk()
        room = site.room(who)
        too_large = Refused(f"{name[:80]} is larger than the {room / MB:.0f} MB that you may upload here.", status=413)
        if int(request.headers.get("content-length") or 0) > room:
            raise too_large
        with site.new_upload(who, name) as (path, about):
            with path.open("wb") as file:
                async for block in request.stream():
                    file.write(block)
                    if file.tell() > room:
                        raise too_large
                    site.check_disk()
            await finish_upload(path, about)
        return shown(site.upload(who, about["id"])[1])

    @app.get("/api/uploads")
    def get_uploads(who: Known) -> list[dict[str, Any]]:
        return [shown(about) for about in site.uploads(who)]

    @app.delete("/api/uploads/{key}")
    def delete_upload(who: Known, key: str) -> dict[str, Any]:
        site.delete_upload(who, key)
        return {}

    @app.get("/uploads/{key}/media")
    def media(who: Known, key: str) -> Response:
        path, about = site.upload(who, key)
        return sent(path, None, about["name"])

    @app.get("/uploads/{key}/picture")
    def picture(who: Known, key: str) -> Response:
        return sent(site.upload(who, key)[0].with_name("first.png"))

    @app.post("/api/uploads/{key}/look")
    async def look_at(who: Known, key: str, given: Look | None = None) -> dict[str, Any]:
        path, about = site.upload(who, key)
        start = given.start if given else 0.0
        try:
            found = await look("faces", path.name, "--start", str(start), folder=path.parent)
        except Refused as problem:
            raise Refused(str(problem).replace(path.name, about["name"], 1), "face") from problem
        size = {"width": found["width"], "height": found["height"]}
        write_json(path.with_name("about.json"), about | size)
        return found | {"picture": f"/uploads/{key}/picture?start={start:g}"}

    @app.get("/api/examples")
    def examples() -> list[dict[str, Any]]:
        return [
            {role: f"/examples/{name}" if role == "result" else {"name": name, "url": f"/examples/{name}"}
             for role, name in example.items() if (DEMO / name).exists()}
            for example in EXAMPLES
        ]  # fmt: skip

    @app.get("/examples/{name}")
    def example(name: str) -> Response:
        if name not in {name for example in EXAMPLES for name in example.values()} or not (DEMO / name).exists():
            raise Refused("There is no such example.", status=404)
        return sent(DEMO / name)

    @app.post("/api/examples/{number}", status_code=201)
    async def use_example(who: Known, number: int) -> dict[str, Any]:
        if not 0 <= number < len(EXAMPLES):
            raise Refused("There is no such example.", status=404)
        given = {}
        for role in ("face", "speech"):
            name = EXAMPLES[number][role]
            with site.new_upload(who, name) as (path, about):
                path.write_bytes((DEMO / name).read_bytes())
                await finish_upload(path, about)
            given[role] = shown(site.upload(who, about["id"])[1])
        return given

    # Jobs

    @app.post("/api/jobs", status_code=201)
    def submit(who: Known, given: JobRequest) -> dict[str, Any]:
        if given.kind not in forms.NEEDED:
            raise Refused(f"There is no such job; choose from {', '.join(forms.NEEDED)}.", "kind")
        if given.kind in forms.OWNERS and not who.owner:
            raise Refused("Only the owner of this server may do that.", status=403)
        needed, optional = (roles.split() for roles in forms.NEEDED[given.kind])
        inputs, sources = {}, {}
        for role in (*needed, *optional):
            value = given.inputs.get(role)
            if not value:
                if role in needed:
                    raise Refused(forms.MISSING[role], role)
            elif role == "weights":
                inputs[role] = {"id": published(str(value)).name, "name": str(value)}
            elif role == "videos":
                inputs[role] = training_videos(who, value)
            else:
                sources[role], inputs[role] = site.upload(who, str(value), role)
        if given.kind in forms.OF_A_PERSON and not given.consent:
            raise Refused("Confirm that you have the right to dub this person.", "consent")
        return queue.view(
            queue.submit(who, given.kind, inputs, given.settings, given.token or os.urandom(16).hex(), sources)
        )

    def training_videos(who: Visitor, value: str | list[str]) -> dict[str, Any]:
        if isinstance(value, str):
            if value not in site.video_folders():
                raise Refused("Choose a folder of videos.", "videos")
            return {"id": value, "name": value}
        found = [site.upload(who, key, "videos") for key in sorted(set(value))]
        sources = [{"id": about["id"], "name": about["name"], "file": str(path)} for path, about in found]
        return {
            "id": " ".join(sorted(set(value))),
            "name": ", ".join(about["name"] for _, about in found),
            "sources": sources,
        }

    @app.get("/api/jobs")
    def get_jobs(who: Known) -> list[dict[str, Any]]:
        return [queue.view(job) for job in queue.of(who)]

    @app.get("/api/jobs/{key}")
    def get_job(who: Known, key: str) -> dict[str, Any]:
        return queue.view(queue.get(who, key))

    @app.post("/api/jobs/{key}/cancel")
    def cancel(who: Known, key: str) -> dict[str, Any]:
        queue.cancel(job := queue.get(who, key))
        return queue.view(job)

    @app.post("/api/jobs/{key}/again", status_code=201)
    def again(who: Known, key: str) -> dict[str, Any]:
        return queue.view(queue.again(who, key))

    @app.delete("/api/jobs/{key}")
    def delete(who: Known, key: str) -> dict[str, Any]:
        queue.delete(queue.get(who, key))
        return {}

    @app.get("/jobs/{key}/files/{name:path}")
    def job_file(who: Known, key: str, name: str, download: bool = False) -> Response:
        path = queue.file(queue.get(who, key), name)
        return sent(path, path.name if download else None)

    @app.get("/pages/{key}/{code}/{name:path}")
    def job_page(key: str, code: str, name: str) -> Response:
        job = queue.jobs.get(key)
        if job is None or code != site.signed(key):
            raise Refused("This page is no longer here.", status=404)
        return sent(queue.file(job, name))

    @app.get("/")
    @app.get("/jobs")
    @app.get("/jobs/{key}")
    @app.get("/train")
    @app.get("/score")
    def index() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": PAGE_RULES})

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def sent(path: Path, download: str | None = None, name: str | None = None) -> Response:
    """A file, of a type that this server knows; a page may run its scripts, and nothing else."""
    suffix = path.suffix.lower()
    headers = {"Content-Security-Policy": "sandbox allow-scripts" if suffix == ".html" else "sandbox"}
    if download or suffix not in TYPES:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(download or name or path.name)}"
    return FileResponse(path, media_type=TYPES.get(suffix, "application/octet-stream"), headers=headers)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError where another program does."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as problem:
        raise InputError(
            f"--host {host} --port {port}: {problem.strerror or problem}; give another --port"
        ) from problem


def serve(options: WebOptions) -> None:
    """Serve the page until the process is stopped."""
    options.users()
    with listen(options.host, options.port) as listening, exclusive_lock(options.folder, "--folder"):
        os.umask(0o077)  # what is written is for this user alone
        site = Site(options)
        queue = Queue(site)
        config = uvicorn.Config(
            build(site, queue), log_level="warning", access_log=False, proxy_headers=False, server_header=False,
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        host = "127.0.0.1" if options.host in ("0.0.0.0", "::") else options.host
        print(f"open http://{host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            queue.stop()
