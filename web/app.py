"""The page put together and served."""

import base64
import binascii
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from utils.errors import warn
from web import check_tab, dub_tab, score_tab, train_tab, weights_tab
from web.files import NotThere
from web.options import WebOptions
from web.process import GRACE
from web.site import Site

CLEAN_EVERY = 600  # seconds
ANY_ADDRESS = ("0.0.0.0", "::")  # to listen on; a browser cannot ask for it
OPEN = ("/health", "/gradio_api/startup-events")  # the second is what Gradio asks of itself, and tells nothing
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
NEW_KEY = """(known) => known ||
    Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join("")"""
TITLE = "Lip-sync any talking face to any speech"


class Login:
    """Lets nobody in without the user and password (HTTP Basic), but for OPEN."""

    def __init__(self, app: ASGIApp, login: tuple[str, str]) -> None:
        self.app, self.wanted = app, ":".join(login).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._knows(dict(scope["headers"])):
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
        page.load(None, [key], [key], js=NEW_KEY)
        with gr.Tab("Dub") as dub:
            dub_tab.build(site, key, [page.load, dub.select])
        with gr.Tab("Check"):
            check_tab.build(site, key)
        with gr.Tab("Score"):
            score_tab.build(site, key)
        with gr.Tab("Train") as train:
            train_tab.build(site, key, [page.load, train.select])
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
    routes = [
        Route("/health", _health),
        Route("/jobs/{job}/{name}", _served(site.files.result)),
        Route("/runs/{run}/{path:path}", _served(site.files.of_run)),
    ]
    closed: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    threading.Thread(target=_cleaning, args=(site,), daemon=True, name="cleaning").start()
    build(site).queue(default_concurrency_limit=None).launch(
        server_name=options.host, server_port=options.port, share=options.share, quiet=True, css=STYLE, theme=_theme(),
        max_file_size=f"{options.max_upload_mb}mb", show_error=True, prevent_thread_lock=True, pwa=False,
        app_kwargs={"routes": routes, "middleware": middleware, **closed}, enable_monitoring=False, ssr_mode=False,
    )  # fmt: skip
    host = "127.0.0.1" if options.host in ANY_ADDRESS else options.host
    print(f"open http://{host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
    threading.Thread(target=_warm_up, daemon=True, name="imports").start()
    try:
        threading.Event().wait()
    finally:
        site.queue.stop(GRACE + 5)


def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


def _served(find: Callable[..., Path]) -> Callable[[Request], Response]:
    """Answers with the file that `find` gives for the parts of an address, if there is one."""

    def answer(request: Request) -> Response:
        try:
            return FileResponse(find(**request.path_params))
        except NotThere:
            return PlainTextResponse("no such file", 404)

    return answer


def _cleaning(site: Site) -> None:
    while True:
        try:
            site.clean()
        except OSError as error:  # tried again next time
            warn(f"{site.options.folder}: cannot be cleaned ({error})")
        time.sleep(CLEAN_EVERY)


def _warm_up() -> None:
    """Import what the first job needs, when the page can be seen already."""
    import dubbing.dubber  # noqa: F401


def _theme() -> gr.themes.Base:
    """Gradio's, but for the grey of its explanations, which is too light to read on white."""
    return gr.themes.Default().set(body_text_color_subdued="*neutral_600", block_title_text_color="*neutral_600")


def _cache_times(options: WebOptions) -> tuple[int, int]:
    """How often Gradio looks for what it keeps too long, and how long that is, in seconds."""
    return CLEAN_EVERY, max(1, round(3600 * options.keep_hours))
