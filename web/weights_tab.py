"""The tab of weight files: which are there, fetching, verifying, importing them."""

from pathlib import Path
from typing import Any

import gradio as gr

from models import download
from models.published import PUBLISHED, ROOT, all_files
from utils.errors import InputError
from web import view
from web.jobs import ENDED, Control, Job
from web.panel import QUIET, Panel
from web.process import run_script
from web.site import Site

COLUMNS = {"name": 170, "state": 90, "size": 90, "licence": 330, "what": 300}  # and how wide each is, in pixels
LICENCES = {"bundled weights": ROOT / "checkpoints" / "README.md", "code": ROOT / "LICENSE"}


def build(site: Site, key: gr.BrowserState) -> None:
    table = gr.Dataframe(
        rows,
        headers=list(COLUMNS),
        column_widths=list(COLUMNS.values()),
        interactive=False,
        wrap=True,
        max_height=1000,
        label="Published and bundled files",
    )
    with gr.Row():
        with gr.Column():
            wanted = gr.Dropdown([file.name for file in PUBLISHED], label="To fetch", elem_id="wanted")
            fetch = gr.Button("Fetch", elem_id="fetch")
            verify = gr.Button("Verify all", elem_id="verify")
            upload = gr.File(label="A published file that you have, whatever its name", elem_id="import")
        with gr.Column():
            panel = Panel(site, key, ("weights",), show)
    for title, path in LICENCES.items():
        with gr.Accordion(f"Licence of the {title}", open=False):
            gr.Markdown(path.read_text(encoding="utf-8"))
    panel.starts(
        fetch.click, lambda session, name: begin(site, session, f"Fetching {name}", "fetch", name), [key, wanted]
    )
    panel.starts(verify.click, lambda session: begin(site, session, "Verifying", "verify"), [key])
    panel.starts(upload.upload, lambda session, file: take(site, session, file), [key, upload])
    gr.Timer(5).tick(rows, None, table, **QUIET)


def rows() -> list[list[str]]:
    """A row for every known file."""
    return [
        [file.name, download.state(file), f"{file.size / 1e6:.1f} MB", file.licence, file.note] for file in all_files()
    ]


def begin(site: Site, key: str, title: str, *arguments: str) -> Job:
    """Queue a command of weights.py."""
    if "fetch" in arguments and arguments[-1] not in {file.name for file in PUBLISHED}:
        raise InputError("choose one of the published files")

    def work(control: Control) -> dict[str, Any]:
        code = run_script(control, "weights.py", *arguments)
        return {"code": code}

    return site.submit(key, "weights", title, site.files.new_job(key), work)


def take(site: Site, key: str, upload: str) -> Job:
    """Queue the import of an uploaded file, which is known by its SHA-256 or refused."""
    folder = site.files.new_job(key)
    own = site.files.take(upload, folder, "weights")

    def work(control: Control) -> dict[str, Any]:
        download.import_file(own)
        own.unlink()
        return {}

    return site.submit(key, "weights", f"Import of {Path(upload).name}", folder, work)


def show(job: Job) -> str:
    return view.log(job) if job.state in ENDED else ""
