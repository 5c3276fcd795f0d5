"""The tab that says what is wrong with a video, and what a dub of it will look like."""

from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from dubbing.options import Options
from utils.errors import InputError
from web import view
from web.jobs import DONE, Control, Job, Work
from web.look import plain
from web.panel import Panel
from web.site import Site
from web.work import without_paths

TARGET = "check.mp4"  # what the dub would be called, and its pictures are called after
PICTURES = {"faces": f"{TARGET}.faces.png", "mouths: source above, result below": f"{TARGET}.check.png"}


def build(site: Site, key: gr.BrowserState) -> None:
    with gr.Row():
        with gr.Column():
            face = gr.File(label="Video or picture with the face", elem_id="checked")
            speech = gr.File(label="Speech (may be left out)", elem_id="checked_speech")
        with gr.Column():
            start = gr.Button("Check", variant="primary", elem_id="check")
            panel = Panel(site, key, ("check",), show)
    panel.starts(start.click, lambda *values: begin(site, *values).name, [key, face, speech])


def begin(site: Site, key: str, face: str | None, speech: str | None) -> Job:
    if not face:
        raise InputError("give a video or a picture with the face")
    folder = site.files.new_job(key)
    own_face = site.files.take(face, folder, "face")
    own_speech = site.files.take(speech, folder, "speech") if speech else None
    return site.submit(key, "check", f"Check of {Path(face).name}", folder, check(site, own_face, own_speech))


def check(site: Site, face: Path, speech: Path | None) -> Work:
    def work(control: Control) -> dict[str, Any]:
        from dubbing.check import check, estimate_in_words

        for path in filter(None, (face, speech)):
            site.check_length(path)
        report = check(face, speech, control.folder / TARGET, Options(device=control.device))
        lines = [f"problem: {line}" for line in report.problems] + [f"remark: {line}" for line in report.remarks]
        lines += [f"found: {', '.join(report.findings)}"] if report.findings else []
        lines += [report.limits_in_words()] if report.limits else []
        cost = [estimate_in_words(report.estimate)] if report.estimate else []
        lines = [plain(line, face) for line in lines or ["nothing is wrong with the footage"]]
        return {"lines": lines + cost, "report": without_paths(asdict(report))}

    return work


def show(job: Job) -> str:
    if job.state != DONE:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in job.result["lines"])
    return f"<ul>{lines}</ul>{view.pictures(job, PICTURES)}"
