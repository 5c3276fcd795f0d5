"""The tab that scores a video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from utils.errors import InputError
from utils.files import read_json, write_json
from web import view
from web.files import new_key
from web.jobs import DONE, Control, Job, Work
from web.panel import Panel, waited_for
from web.process import run_script
from web.site import Site
from web.work import without_paths

SCORES, PAGE = "scores.json", "scores.html"


def build(site: Site, key: gr.BrowserState) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.File(label="Video to score", elem_id="scored")
            sound = gr.File(label="Its speech, where that is not the video's own sound")
            reference = gr.File(label="What it should look like: the original video")
        with gr.Column():
            start = gr.Button("Score", variant="primary", elem_id="score")
            panel = Panel(site, key, ("score",), show)

    def submit(session: str, *files: str | None) -> str:
        return begin(site, session, *files).name

    panel.starts(start.click, submit, [key, video, sound, reference])


def begin(site: Site, key: str, video: str | None, sound: str | None, reference: str | None) -> Job:
    """Queue the scoring of uploaded files."""
    if not video:
        raise InputError("give a video to score")
    folder = site.files.new_job(key)
    given = {"video": video, "audio": sound, "reference": reference}
    own = {name: site.files.take(file, folder, name) for name, file in given.items() if file}
    return site.submit(key, "score", f"Score of {Path(video).name}", folder, score(site, own))


def score(site: Site, files: dict[str, Path]) -> Work:
    """files: by flag of evaluate.py. The result: what it writes."""

    def work(control: Control) -> dict[str, Any]:
        for path in files.values():
            site.check_length(path)
        flags = [part for name, path in files.items() for part in (f"--{name}", path)]
        run_script(control, "evaluate.py", *flags, "--device", control.device, "--outfile", control.folder / SCORES)
        scores = without_paths(read_json(control.folder / SCORES))
        write_json(control.folder / SCORES, scores)
        return {"scores": scores}

    return work


def show(job: Job) -> str:
    if job.state != DONE:
        return ""
    shown = view.frame(view.address(job, PAGE), "scores and plots")
    return shown + view.links({"scores (JSON)": view.address(job, SCORES)}, download=True)


def endpoint(site: Site) -> None:
    """/evaluate: files video, audio and reference, of which the last two may be left out -> the scores."""
    with gr.Group(visible=False):
        files = [gr.File(label=name) for name in ("video", "audio", "reference")]
        result = gr.JSON(label="scores")
        gr.Button().click(_endpoint(site), files, result, api_name="evaluate", concurrency_limit=None)


def _endpoint(site: Site) -> Callable[..., Any]:
    async def evaluate(video: str, audio: str | None = None, reference: str | None = None) -> dict:
        try:
            job = begin(site, new_key(), video, audio, reference)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        await waited_for(site, job)
        return job.result["scores"]

    return evaluate
