"""The page put together and served."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from utils.errors import warn
from web import dub_tab, tabs
from web.jobs import SCRIPT_GRACE
from web.options import WebOptions
from web.site import NotThere, Site

CLEAN_EVERY = 600  # seconds
ANY_ADDRESS = ("0.0.0.0", "::")  # to listen on; a browser cannot ask for it
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
NEW_KEY = """(known) => known ||
    Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join("")"""
TITLE = "Lip-sync any talking face to any speech"


def build(site: Site) -> gr.Blocks:
    cache_seconds = max(1, round(3600 * site.options.keep_hours))
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CLEAN_EVERY, cache_seconds)) as page:
        gr.Markdown(f"# {TITLE}\nDub only people who agree to it, and tell viewers that a video was dubbed.")
        key = gr.BrowserState("", storage_key="session")
        page.load(None, [key], [key], js=NEW_KEY)
        with gr.Tab("Dub") as dub:
            dub_tab.build(site, key, [page.load, dub.select])
        with gr.Tab("Score"):
            tabs.build_score(site, key)
        with gr.Tab("Train") as train:
            tabs.build_train(site, key, [page.load, train.select])
        with gr.Tab("Weights"):
            tabs.build_weights(site, key)
        dub_tab.endpoints(site)
        tabs.score_endpoint(site)
    return page


def serve(options: WebOptions) -> None:
    """Serve the page until the process is stopped."""
    login, uploads = options.login(), options.folder.resolve() / "uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    site = Site(options, uploads)
    routes = [
        Route("/health", lambda request: PlainTextResponse("ok")),
        Route("/jobs/{job}/{name}", _file_route(site.files.result)),
        Route("/runs/{run}/{path:path}", _file_route(site.files.of_run)),
    ]
    closed: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    threading.Thread(target=_clean_for_ever, args=(site,), daemon=True, name="cleaning").start()
    build(site).queue(default_concurrency_limit=None).launch(
        server_name=options.host, server_port=options.port, share=options.share, auth=login, quiet=True, css=STYLE,
        theme=gr.themes.Default().set(body_text_color_subdued="*neutral_600", block_title_text_color="*neutral_600"),
        max_file_size=f"{options.max_upload_mb}mb", show_error=True, prevent_thread_lock=True, pwa=False,
        app_kwargs={"routes": routes, **closed}, enable_monitoring=False, ssr_mode=False,
    )  # fmt: skip
    host = "127.0.0.1" if options.host in ANY_ADDRESS else options.host
    print(f"open http://{host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
    threading.Thread(target=_import_networks, daemon=True, name="imports").start()
    try:
        threading.Event().wait()
    finally:
        site.queue.stop(SCRIPT_GRACE + 5)


def _file_route(find: Callable[..., Path]) -> Callable[[Request], Response]:
    """Answers with the file that `find` gives for the parts of an address."""

    def answer(request: Request) -> Response:
        try:
            return FileResponse(find(**request.path_params))
        except NotThere:
            return PlainTextResponse("no such file", 404)

    return answer


def _clean_for_ever(site: Site) -> None:
    while True:
        try:
            site.clean()
        except OSError as error:  # tried again next time
            warn(f"{site.options.folder}: cannot be cleaned ({error})")
        time.sleep(CLEAN_EVERY)


def _import_networks() -> None:
    """What the first job needs, imported while the page is already shown."""
    import dubbing.dubber  # noqa: F401
