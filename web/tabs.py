"""The tabs that score videos, train on a person, and look after weight files. Each runs a script of the project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from models import download
from models.published import PUBLISHED, all_files
from utils.errors import InputError
from utils.files import read_json, write_json
from web import panel
from web.jobs import DONE, ENDED, Control, Job, Work
from web.panel import QUIET, Panel, with_errors_shown
from web.site import EVERYBODY, Site, new_key, without_paths

SCORES, SCORE_PAGE = "scores.json", "scores.html"
RUN_PAGES = {  # of a training, what it is: the file, of several the newest; the last that exists is shown
    "the footage": "preprocessed/report.html",
    "finetune, step by step": "generator*/summary.html",
    "refiner, step by step": "refiner*/summary.html",
    "before and after": "index.html",
}
WEIGHT_COLUMNS = {"name": 170, "state": 90, "size": 90, "licence": 330, "what": 300}  # widths in pixels


# Scores


def build_score(site: Site, key: gr.BrowserState) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.File(label="Video to score", elem_id="scored")
            sound = gr.File(label="Its speech, where that is not the video's own sound")
            reference = gr.File(label="What it should look like: the original video")
        with gr.Column():
            start = gr.Button("Score", variant="primary", elem_id="score")
            shown = Panel(site, key, ("score",), show_scores)
    shown.starts(start.click, lambda *given: begin_score(site, *given), [key, video, sound, reference])


def begin_score(site: Site, key: str, video: str | None, audio: str | None, reference: str | None) -> Job:
    """Queue evaluate.py on uploaded files."""
    if not video:
        raise InputError("give a video to score")
    folder = site.files.new_job(key)
    given = {"video": video, "audio": audio, "reference": reference}
    files = {name: site.files.take(file, folder, name) for name, file in given.items() if file}

    def work(control: Control) -> dict[str, Any]:
        for path in files.values():
            site.check_length(path)
        flags = [part for name, path in files.items() for part in (f"--{name}", path)]
        outfile = control.folder / SCORES
        control.run_script("evaluate.py", *flags, "--device", control.device, "--outfile", outfile)
        scores = without_paths(read_json(outfile))
        write_json(outfile, scores)
        return {"scores": scores}

    return site.submit(key, "score", f"Score of {Path(video).name}", folder, work)


def show_scores(job: Job) -> str:
    if job.state != DONE:
        return ""
    page = panel.frame_html(panel.address(job, SCORE_PAGE), "scores and plots")
    return page + panel.links_html({"scores (JSON)": panel.address(job, SCORES)}, download=True)


def score_endpoint(site: Site) -> None:
    """/evaluate: files video, audio and reference, of which the last two may be left out -> the scores."""

    async def evaluate(video: str, audio: str | None = None, reference: str | None = None) -> dict:
        job = with_errors_shown(begin_score, site, new_key(), video, audio, reference)
        await panel.finished(site, job)
        return job.result["scores"]

    with gr.Group(visible=False):
        files = [gr.File(label=name) for name in ("video", "audio", "reference")]
        gr.Button().click(evaluate, files, gr.JSON(label="scores"), api_name="evaluate", concurrency_limit=None)


# Training


def build_train(site: Site, key: gr.BrowserState, opened: list[Callable]) -> None:
    """opened: the events after which there may be folders of videos that were not there before."""
    if site.options.train_root is None:
        gr.Markdown("Start the server with `--train_root FOLDER` to train on the folders of videos in it.")
        return
    with gr.Row():
        with gr.Column(scale=1):
            folders = list(site.video_folders())
            videos = gr.Dropdown(folders, label="Videos of one person, some minutes in all", elem_id="videos")
            minutes = gr.Number(30, label="Minutes of training, generator", minimum=0.1, elem_id="minutes")
            refiner = gr.Number(40, label="Minutes of training, refiner", minimum=0.1, elem_id="refiner_minutes")
            start = gr.Button("Start, or resume", variant="primary", elem_id="train")
        with gr.Column(scale=2):
            shown = Panel(site, key, ("train",), lambda job: show_run(site, job), lambda job: version(site, job), True)
    gr.on(opened, lambda: gr.update(choices=list(site.video_folders())), None, videos, **QUIET)
    shown.starts(start.click, lambda *given: begin_train(site, *given), [videos, minutes, refiner])


def begin_train(site: Site, name: str | None, minutes: float, refiner_minutes: float) -> Job:
    """Queue finetune.py on a folder; a run that was stopped resumes."""
    videos = site.video_folders().get(name or "")
    if videos is None:
        raise InputError("choose a folder of videos")
    if any(job.kind == "train" and job.state not in ENDED for job in site.jobs(EVERYBODY)):
        raise InputError("a training is running or waiting; wait for it, or cancel it")
    run = site.files.run_folder(videos)
    limits = ["--minutes", str(minutes), "--refiner_minutes", str(refiner_minutes)]

    def work(control: Control) -> dict[str, Any]:
        control.run_script("finetune.py", "--videos", videos, "--outdir", run, *limits, "--device", control.device)
        return {"run": run.name}

    job = site.submit(EVERYBODY, "train", f"Training on {name}", site.files.new_job(new_key()), work)
    job.result = {"run": run.name}
    return job


def run_pages(site: Site, job: Job) -> dict[str, Path]:
    """The pages that a training has written so far, by what they are. Changed footage gives a stage a new folder."""
    folder = site.files.runs / job.result.get("run", "")
    found = {text: list(folder.glob(pattern)) for text, pattern in RUN_PAGES.items()}
    return {text: max(paths, key=lambda path: path.stat().st_mtime_ns) for text, paths in found.items() if paths}


def version(site: Site, job: Job) -> str:
    """Changes with every page that the job's run writes."""
    return f"{job.state}-{max((path.stat().st_mtime_ns for path in run_pages(site, job).values()), default=0)}"


def show_run(site: Site, job: Job) -> str:
    """The newest page of the run, links to the others, and the end of the log."""
    pages = run_pages(site, job).items()
    addresses = {text: f"/runs/{path.relative_to(site.files.runs).as_posix()}" for text, path in pages}
    newest = [panel.frame_html(f"{address}?{version(site, job)}", text) for text, address in addresses.items()][-1:]
    return panel.links_html(addresses) + "".join(newest) + (panel.log_html(job) if job.state in ENDED else "")


# Weights


def build_weights(site: Site, key: gr.BrowserState) -> None:
    table = gr.Dataframe(
        weight_rows, headers=list(WEIGHT_COLUMNS), column_widths=list(WEIGHT_COLUMNS.values()), interactive=False,
        wrap=True, max_height=1000, label="Published and bundled files",
    )  # fmt: skip
    with gr.Row():
        with gr.Column():
            wanted = gr.Dropdown([file.name for file in PUBLISHED], label="To fetch", elem_id="wanted")
            fetch = gr.Button("Fetch", elem_id="fetch")
            verify = gr.Button("Verify all", elem_id="verify")
            upload = gr.File(label="A published file that you have, whatever its name", elem_id="import")
        with gr.Column():
            shown = Panel(site, key, ("weights",), lambda job: panel.log_html(job) if job.state in ENDED else "")

    def begin(key: str, title: str, work: Work, folder: Path | None = None) -> Job:
        return site.submit(key, "weights", title, folder or site.files.new_job(key), work)

    def begin_fetch(key: str, name: str | None) -> Job:
        if name not in {file.name for file in PUBLISHED}:
            raise InputError("choose one of the published files")
        return begin(key, f"Fetch of {name}", lambda control: {"code": control.run_script("weights.py", "fetch", name)})

    def begin_import(key: str, upload: str) -> Job:
        folder = site.files.new_job(key)
        own = site.files.take(upload, folder, "weights")

        def work(control: Control) -> dict[str, Any]:
            download.import_file(own)  # known by its SHA-256, or refused
            own.unlink()
            return {}

        return begin(key, f"Import of {Path(upload).name}", work, folder)

    def begin_verify(key: str) -> Job:
        return begin(key, "Verification", lambda control: {"code": control.run_script("weights.py", "verify")})

    shown.starts(fetch.click, begin_fetch, [key, wanted])
    shown.starts(verify.click, begin_verify, [key])
    shown.starts(upload.upload, begin_import, [key, upload])
    gr.Timer(5).tick(weight_rows, None, table, **QUIET)


def weight_rows() -> list[list[str]]:
    """A row for every known file."""
    return [
        [file.name, download.state(file), f"{file.size / 1e6:.1f} MB", file.licence, file.note] for file in all_files()
    ]
