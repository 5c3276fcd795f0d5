"""The page put together and served."""

import os
import secrets
import time
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from web import dub_tab, tabs
from web.site import Site, WebOptions

CLEAN_EVERY = 600  # seconds
ANY_ADDRESS = ("0.0.0.0", "::")  # to listen on; a browser cannot ask for it
SHOWN = {".html", ".png", ".jpg", ".mp4", ".json"}  # files that are sent to browsers; weights are not
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
TITLE = "Lip-sync any talking face to any speech"


class Results(StaticFiles):
    """The files of jobs and trainings that may be shown."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        return super().lookup_path(path) if Path(path).suffix in SHOWN else ("", None)


def build(site: Site) -> gr.Blocks:
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\nDub only people who agree to it, and tell viewers that a video was dubbed.")
        key = gr.BrowserState("", storage_key="session")
        page.load(lambda known: known or secrets.token_urlsafe(24), key, key, api_visibility="private")
        with gr.Tab("Dub") as dub:
            dub_tab.build(site, key, [page.load, dub.select])
        with gr.Tab("Score"):
            tabs.build_score(site, key)
        with gr.Tab("Train") as train:
            tabs.build_train(site, [page.load, train.select])
        with gr.Tab("Weights"):
            tabs.build_weights(site, key)
        dub_tab.endpoints(site)
        tabs.score_endpoint(site)
    return page


def serve(options: WebOptions) -> None:
    """Serve the page until the process is stopped."""
    login, site = options.login(), Site(options)
    os.environ["GRADIO_TEMP_DIR"] = str(site.uploads)
    routes = [
        Route("/health", lambda request: PlainTextResponse("ok")),
        Mount("/sessions", Results(directory=site.sessions)),
        Mount("/runs", Results(directory=site.runs)),
    ]
    closed: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    build(site).queue(default_concurrency_limit=len(site.devices)).launch(
        server_name=options.host, server_port=options.port, share=options.share, auth=login, quiet=True, css=STYLE,
        theme=gr.themes.Default().set(body_text_color_subdued="*neutral_600", block_title_text_color="*neutral_600"),
        max_file_size=f"{options.max_upload_mb}mb", show_error=True, prevent_thread_lock=True, pwa=False,
        allowed_paths=[str(site.sessions)], app_kwargs={"routes": routes, **closed}, enable_monitoring=False,
        ssr_mode=False,
    )  # fmt: skip
    host = "127.0.0.1" if options.host in ANY_ADDRESS else options.host
    print(f"open http://{host}:{options.port} in a browser; Ctrl-C ends the server", flush=True)
    try:
        while True:
            site.delete_old()
            time.sleep(CLEAN_EVERY)
    finally:
        site.stop()
