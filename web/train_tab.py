"""The tab that trains: from a folder of videos on the server to a generator and a refiner of the person in them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from utils.errors import InputError
from web import view
from web.files import new_key
from web.jobs import ENDED, Control, Job
from web.panel import QUIET, Panel
from web.process import run_script
from web.site import EVERYBODY, Site

PAGES = {  # of a run, what it is: the file, of several the newest; the last that is there is shown
    "the footage": "preprocessed/report.html",
    "finetune, step by step": "generator*/summary.html",
    "refiner, step by step": "refiner*/summary.html",
    "before and after": "index.html",
}
NOT_HERE = "Start the server with `--train_root FOLDER` to train on the folders of videos in it."


def build(site: Site, key: gr.BrowserState, opened: list[Callable]) -> None:
    """opened: the events after which folders of videos may be there that were not before."""
    if site.options.train_root is None:
        gr.Markdown(NOT_HERE)
        return
    with gr.Row():
        with gr.Column(scale=1):
            videos = gr.Dropdown(
                list(site.video_folders()), label="Videos of one person, some minutes in all", elem_id="videos"
            )
            minutes = gr.Number(30, label="minutes of learning, generator", minimum=0.1, elem_id="minutes")
            refiner = gr.Number(40, label="minutes of learning, refiner", minimum=0.1, elem_id="refiner_minutes")
            start = gr.Button("Start, or go on", variant="primary", elem_id="train")
            with gr.Accordion("For experts", open=False):
                gr.Markdown("An expert of one person alone judges nobody else: train one on clips of many people.")
                expert = gr.Button("Train a lip-sync expert on these clips", elem_id="train_expert")
        with gr.Column(scale=2):
            panel = Panel(site, key, ("train", "expert"), partial(show, site), partial(version, site), shared=True)

    gr.on(opened, lambda: gr.update(choices=list(site.video_folders())), None, videos, **QUIET)
    panel.starts(start.click, lambda *values: begin(site, *values).name, [videos, minutes, refiner])
    panel.starts(expert.click, lambda *values: begin_expert(site, *values).name, [videos, minutes])


def chosen(site: Site, name: str | None) -> Path:
    found = site.video_folders()
    if name not in found:
        raise InputError("choose a folder of videos")
    return found[name]


def begin(site: Site, name: str | None, minutes: float, refiner_minutes: float) -> Job:
    """Queue finetune.py on a folder; a run that was stopped goes on."""
    videos = chosen(site, name)
    run = site.files.run_folder(videos)
    limits = ["--minutes", str(minutes), "--refiner_minutes", str(refiner_minutes)]

    def work(control: Control) -> dict[str, Any]:
        run_script(control, "finetune.py", "--videos", videos, "--outdir", run, *limits, "--device", control.device)
        return {"run": run.name}

    return _queue(site, "train", f"Training on {name}", run, work)


def begin_expert(site: Site, name: str | None, minutes: float) -> Job:
    """Queue color_syncnet_train.py on the clips of a folder that was preprocessed."""
    run = site.files.run_folder(chosen(site, name))
    if not (run / "preprocessed").is_dir():
        raise InputError("train on this folder first: the expert needs its clips")
    places = {"data_root": run / "preprocessed", "filelists_dir": run / "filelists", "checkpoint_dir": run / "expert"}
    flags = [part for name, path in places.items() for part in (f"--{name}", str(path))]

    def work(control: Control) -> dict[str, Any]:
        run_script(control, "color_syncnet_train.py", *flags, "--max_minutes", str(minutes), "--device", control.device)
        return {"run": run.name}

    return _queue(site, "expert", f"Training of an expert on {name}", run, work)


def _queue(site: Site, kind: str, title: str, run: Path, work: Any) -> Job:
    if any(job.kind in ("train", "expert") and job.state not in ENDED for job in site.jobs(EVERYBODY)):
        raise InputError("a training is going on already; wait for it, or cancel it")
    job = site.submit(EVERYBODY, kind, title, site.files.new_job(new_key()), work)
    job.result = {"run": run.name}
    return job


def pages(site: Site, job: Job) -> dict[str, str]:
    """Addresses of the pages that the job's run has written, by what they are."""
    return {text: f"/runs/{path.relative_to(site.files.runs).as_posix()}" for text, path in _written(site, job).items()}


def version(site: Site, job: Job) -> str:
    """Changes with every page that the job's run writes."""
    times = [path.stat().st_mtime_ns for path in _written(site, job).values()]
    return f"{job.state}-{max(times, default=0)}"


def _written(site: Site, job: Job) -> dict[str, Path]:
    """The pages of the job's run, by what they are. A stage whose footage has changed works in a new folder."""
    folder = site.files.runs / job.result.get("run", "")
    found = {text: list(folder.glob(pattern)) for text, pattern in PAGES.items()}
    return {text: max(paths, key=lambda path: path.stat().st_mtime_ns) for text, paths in found.items() if paths}


def show(site: Site, job: Job) -> str:
    """What the run has come to: its newest page, links to the others, what the script printed last."""
    found = pages(site, job)
    newest = ""
    if found:
        text, address = list(found.items())[-1]
        newest = view.frame(f"{address}?{version(site, job)}", text)
    return view.links(found) + newest + (view.log(job) if job.state in ENDED else "")
