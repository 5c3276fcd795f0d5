"""The page put together and served."""

import base64
import binascii
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from web import dub_tab, score_tab, weights_tab
from web.files import NotThere, new_key
from web.options import WebOptions
from web.site import Site

CLEAN_EVERY = 600  # seconds
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
TITLE = "Lip-sync any talking face to any speech"


class Login:
    """Lets nobody in without the user and password (HTTP Basic); /health is for anyone."""

    def __init__(self, app: ASGIApp, login: tuple[str, str]) -> None:
        self.app, self.wanted = app, ":".join(login).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == "/health" or self._knows(dict(scope["headers"])):
            await self.app(scope, receive, send)
            return
        ask = {"WWW-Authenticate": 'Basic realm="lip-sync", charset="UTF-8"'}
        await PlainTextResponse("user and password are needed", 401, ask)(scope, receive, send)

    def _knows(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        try:
            given = base64.b64decode(credentials, validate=True)
        except binascii.Error:
            return False
        return kind.lower() == b"basic" and secrets.compare_digest(given, self.wanted)


def build(site: Site) -> gr.Blocks:
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_cache_times(site.options)) as page:
        gr.Markdown(f"# {TITLE}\nDub only people who agree to it, and tell viewers that a video was dubbed.")
        key = gr.BrowserState("", storage_key="session")
        page.load(lambda known: known or new_key(), [key], [key], queue=False, api_visibility="private")
        with gr.Tab("Dub"):
            dub_tab.build(site, key)
        with gr.Tab("Score"):
            score_tab.build(site, key)
        with gr.Tab("Weights"):
            weights_tab.build(site, key)
        dub_tab.endpoints(site)
        score_tab.endpoint(site)
    return page


def serve(options: WebOptions) -> None:
    """Serve the page till the process is stopped."""
    login, folder = options.login(), options.folder.resolve()
    uploads = folder / "uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    site = Site(options, uploads)
    middleware = [Middleware(Login, login=login)] if login else []
    routes = [Route("/health", _health), Route("/jobs/{job}/{name}", _results_of(site))]
    closed: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    threading.Thread(target=_cleaning, args=(site,), daemon=True, name="cleaning").start()
    build(site).queue(default_concurrency_limit=None).launch(
        server_name=options.host, server_port=options.port, share=options.share, quiet=True, css=STYLE,
        max_file_size=f"{options.max_upload_mb}mb", show_error=True, prevent_thread_lock=True, pwa=False,
        app_kwargs={"routes": routes, "middleware": middleware, **closed}, enable_monitoring=False, ssr_mode=False,
    )  # fmt: skip
    print(f"open http://{options.host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
    threading.Thread(target=_warm_up, daemon=True, name="imports").start()
    threading.Event().wait()


def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


def _results_of(site: Site) -> Any:
    def result(request: Request) -> Response:
        try:
            return FileResponse(site.files.result(request.path_params["job"], request.path_params["name"]))
        except NotThere:
            return PlainTextResponse("no such file", 404)

    return result


def _cleaning(site: Site) -> None:
    while True:
        site.clean()
        time.sleep(CLEAN_EVERY)


def _warm_up() -> None:
    """Import what the first job needs, when the page can be seen already."""
    import dubbing.dubber  # noqa: F401


def _cache_times(options: WebOptions) -> tuple[int, int]:
    """How often Gradio looks for what it keeps too long, and how long that is, in seconds."""
    return CLEAN_EVERY, max(1, round(3600 * options.keep_hours))
