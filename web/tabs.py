"""The tabs that score videos, train on a person, and look after weight files. Each runs a script of the project."""

import secrets
from collections.abc import Callable
from html import escape
from pathlib import Path

import gradio as gr

from models.published import PUBLISHED, all_files, state
from utils.errors import InputError
from utils.files import read_json
from web.parts import JOBS, QUIET, cancels, errors_shown, links_html, page_html, take
from web.site import Site, log_lines

SCORES = "scores.json"
LOG_LINES = 12  # of a script, that are shown
REFRESH = 2.0  # seconds between two looks at a training
RUN_PAGES = {  # of a training, what it is: the file, of several the newest, since changed footage begins a new folder
    "the footage": "preprocessed/report.html",
    "finetune, step by step": "generator*/summary.html",
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
            cancel = gr.Button("Cancel", variant="stop")
            results = gr.HTML(elem_id="score_results", min_height=120)

    def started(key: str, video: str, sound: str, reference: str) -> str:
        with errors_shown():
            scores = score(site, site.session(key), video, sound, reference)
        return page_html(site, scores.with_suffix(".html"), {"scores (JSON)": scores})

    given = [key, video, sound, reference]
    event = start.click(started, given, results, **JOBS)
    cancels(cancel, [event], site, site.session, key, results)


def score(site: Site, session: Path, video: str | None, audio: str | None, reference: str | None) -> Path:
    """Run evaluate.py on uploaded files, in a new folder of the session; returns the scores."""
    if not video:
        raise InputError("give a video to score")
    given = {"video": video, "audio": audio, "reference": reference}
    with site.job(session) as job:
        flags = []
        for name, upload in given.items():
            flags += [f"--{name}", take(upload, job, name, site.options.max_seconds).name] if upload else []
        job.run_script("evaluate.py", *flags, "--device", job.device, "--outfile", SCORES)
        return job.folder / SCORES


def score_endpoint(site: Site) -> None:
    """/evaluate: files video, audio and reference, of which the last two may be left out -> the scores."""

    def evaluate(video: str, audio: str | None = None, reference: str | None = None) -> dict:
        with errors_shown():
            return read_json(score(site, site.session(secrets.token_urlsafe()), video, audio, reference))

    with gr.Group(visible=False):
        files = [gr.File(label=name) for name in ("video", "audio", "reference")]
        gr.Button().click(evaluate, files, gr.JSON(label="scores"), api_name="evaluate", concurrency_id="jobs")


# Training


def build_train(site: Site, opened: list[Callable]) -> None:
    """opened: the events after which there may be folders of videos that were not there before."""
    if site.options.train_root is None:
        gr.Markdown("Start the server with `--train_root FOLDER` to train on the folders of videos in it.")
        return
    folders = site.video_folders
    with gr.Row():
        with gr.Column():
            videos = gr.Dropdown(list(folders()), label="Videos of one person, some minutes in all", elem_id="videos")
            minutes = gr.Number(30, label="Minutes of training", minimum=0.1, elem_id="minutes")
            start = gr.Button("Start, or resume", variant="primary", elem_id="train")
            cancel = gr.Button("Cancel", variant="stop", elem_id="train_cancel")
        with gr.Column():
            outcome = gr.HTML(elem_id="train_outcome")
            state = gr.HTML(elem_id="train_state")

    def train(name: str | None, minutes: float) -> str:
        with errors_shown():
            run = training_of(name)
            if site.runs_in(run):
                raise InputError("this training is running; wait for it, or cancel it")
            with site.job(site.runs, run.name) as job:
                flags = ["--videos", str(folders()[str(name)]), "--outdir", str(run), "--device", job.device]
                job.run_script("finetune.py", *flags, "--minutes", str(minutes))
        return "done"

    def training_of(name: str | None) -> Path:
        if name not in folders():
            raise InputError("choose a folder of videos")
        return site.run_folder(folders()[name])

    def shown(name: str | None) -> str:
        return run_html(site, training_of(name)) if name else ""

    gr.on(opened, lambda: gr.update(choices=list(folders())), None, videos, **QUIET)
    event = start.click(train, [videos, minutes], outcome, **JOBS)
    cancels(cancel, [event], site, training_of, videos, outcome)
    gr.Timer(REFRESH).tick(shown, videos, state, **QUIET)


def run_html(site: Site, run: Path) -> str:
    """Links to the pages that a training has written so far, and the end of its log."""
    found = {text: list(run.glob(pattern)) for text, pattern in RUN_PAGES.items()}
    newest = {text: max(paths, key=lambda path: path.stat().st_mtime_ns) for text, paths in found.items() if paths}
    running = "<p>The training is running.</p>" if site.runs_in(run) else ""
    return running + links_html(site, newest) + log_html(run)


def log_html(folder: Path) -> str:
    """The last lines of what a script has printed."""
    return f'<pre class="log">{escape(chr(10).join(log_lines(folder)[-LOG_LINES:]))}</pre>'


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
        outcome = gr.HTML(elem_id="weights_outcome", min_height=120)

    def weights(key: str, *arguments: str | None) -> str:
        with errors_shown(), site.job(site.session(key)) as job:
            job.run_script("weights.py", *(argument or "" for argument in arguments))
        return log_html(job.folder)

    events = [
        fetch.click(lambda key, name: weights(key, "fetch", name), [key, wanted], outcome, **JOBS),
        verify.click(lambda key: weights(key, "verify"), key, outcome, **JOBS),
        upload.upload(lambda key, file: weights(key, "import", file), [key, upload], outcome, **JOBS),
    ]
    for event in events:
        event.then(weight_rows, None, table, **QUIET)


def weight_rows() -> list[list[str]]:
    """A row for every known file."""
    return [[file.name, state(file), f"{file.size / 1e6:.1f} MB", file.licence, file.note] for file in all_files()]
