"""How a job looks in the page: its state, its results, a button that cancels it. Names and messages are escaped."""

import asyncio
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from utils.errors import InputError
from web.jobs import DONE, ENDED, LOG, RUNNING, WAITING, Job
from web.site import EVERYBODY, Site

TICK = 1.0  # seconds between two looks at a job
LOG_LINES = 12  # of a script, that are shown
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # events nobody awaits


class Panel:
    """Shows the session's newest job of these kinds, so that a page that is loaded again finds it."""

    def __init__(
        self,
        site: Site,
        key: gr.BrowserState,
        kinds: tuple[str, ...],
        show: Callable[[Job], str],  # results as HTML
        version: Callable[[Job], str] = lambda job: job.state,  # changes with what there is to show
        shared: bool = False,  # whether the jobs are everybody's
    ) -> None:
        self.site, self.kinds, self.show, self.version, self.shared = site, kinds, show, version, shared
        self.state = gr.HTML(elem_id=f"{kinds[0]}_state")
        self.cancel = gr.Button("Cancel", visible=False, variant="stop", elem_id=f"{kinds[0]}_cancel")
        self.results = gr.HTML(elem_id=f"{kinds[0]}_results")
        self.shown = gr.State("")  # name and version of the job whose results are shown
        outputs = [self.state, self.cancel, self.results, self.shown]
        gr.Timer(TICK).tick(self._refresh, [key, self.shown], outputs, **QUIET)
        self.cancel.click(self._cancel, [key], None, **QUIET)

    def starts(self, event: Callable[..., Any], submit: Callable[..., Any], inputs: list[Any]) -> None:
        """Let an event, such as button.click, start a job: submit(*inputs) queues it."""

        def started(*values: Any) -> None:
            with_errors_shown(submit, *values)

        event(started, inputs, None, api_visibility="private", concurrency_limit=None)

    def _newest(self, key: str) -> Job | None:
        jobs = self.site.jobs(EVERYBODY if self.shared else key)
        return next((job for job in jobs if job.kind in self.kinds), None)

    def _refresh(self, key: str, shown: str) -> tuple[Any, ...]:
        job = self._newest(key)
        state = state_html(job, self.site.queue.jobs_before(job) if job else 0)
        cancel = gr.update(visible=job is not None and job.state not in ENDED)
        now = f"{job.name} {self.version(job)}" if job else ""
        if now == shown:
            return state, cancel, gr.skip(), gr.skip()
        return state, cancel, self.show(job) if job else "", now

    def _cancel(self, key: str) -> None:
        job = self._newest(key)
        if job:
            self.site.queue.cancel(job.name)


def with_errors_shown(work: Callable[..., Any], *values: Any) -> Any:
    """What work(*values) returns; its InputError is shown in the browser, or sent to the program that asked."""
    try:
        return work(*values)
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from error


async def finished(site: Site, job: Job) -> None:
    """Return when the job is done; raises gr.Error where it failed. Cancels it where the waiting program is gone."""
    try:
        while job.state not in ENDED:
            await asyncio.sleep(TICK / 4)
    finally:
        site.queue.cancel(job.name)
    if job.state != DONE:
        raise gr.Error(job.message, print_exception=False)


def state_html(job: Job | None, jobs_before: int) -> str:
    """State and progress of a job."""
    if job is None:
        return '<p class="state" role="status">Nothing has been started yet.</p>'
    title = f"<strong>{escape(job.title)}</strong>"
    if job.state == WAITING:
        jobs = f"{jobs_before} job{'' if jobs_before == 1 else 's'}"
        return f'<p class="state waiting" role="status">{title} waits; {jobs} before it.</p>'
    if job.state == RUNNING:
        now = "is asked to stop" if job.to_stop else escape(_progress(job))
        value = f' value="{min(job.done, job.total)}" max="{job.total}"' if job.total else ""
        bar = f'<progress{value} aria-label="progress"></progress>'
        return f'<div class="state running" role="status">{title} {now}{bar}{log_html(job)}</div>'
    message = f": {escape(job.message)}" if job.message else ""
    return f'<p class="state {job.state}" role="status">{title} {job.state}{message}</p>'


def _progress(job: Job) -> str:
    if not job.stage:
        return "starts"
    if not (job.total or job.done):
        return job.stage
    text = f"{job.stage}: {job.done}" + (f" of {job.total}" if job.total else "")
    text += f", {job.rate:.1f} a second" if job.rate else ""
    seconds = job.seconds_left()
    if seconds is None:
        return text
    minutes, rest = divmod(round(seconds), 60)
    return f"{text}, {f'{minutes} min {rest} s' if minutes else f'{rest} s'} left"


def address(job: Job, name: str) -> str:
    """Of a file of the job."""
    return f"/jobs/{job.name}/{quote(name)}"


def frame_html(source: str, title: str) -> str:
    """Another page, shown within this one."""
    return f'<iframe class="result" title="{escape(title)}" src="{source}"></iframe>'


def links_html(addresses: dict[str, str], download: bool = False) -> str:
    """addresses: by the text of each link."""
    how = "download" if download else 'target="_blank"'
    parts = [f'<a href="{source}" {how}>{escape(text)}</a>' for text, source in addresses.items()]
    return f'<p class="links">{" · ".join(parts)}</p>'


def pictures_html(job: Job, files: dict[str, str]) -> str:
    """Those of the job's pictures that exist; files: by their captions."""
    there = {escape(text): address(job, file) for text, file in files.items() if (Path(job.folder) / file).exists()}
    return "".join(
        f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'
        for text, source in there.items()
    )


def log_html(job: Job) -> str:
    """The last lines of what the job's script printed."""
    path = Path(job.folder) / LOG
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n") if path.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()][-LOG_LINES:]
    return f'<pre class="log">{escape(chr(10).join(lines))}</pre>' if lines else ""
