"""How a job looks in the page: its state while it lasts, its results when it has ended. HTML in what visitors wrote
stays text."""

from html import escape
from pathlib import Path
from urllib.parse import quote

from web.jobs import CANCELLED, DONE, FAILED, RUNNING, WAITING, Job
from web.process import tail

WORDS = {WAITING: "waiting", RUNNING: "running", DONE: "done", FAILED: "failed", CANCELLED: "cancelled"}


def state_of(job: Job | None, place: int) -> str:
    """Progress of a job, or why there is none; place: jobs before it."""
    if job is None:
        return '<p class="state" role="status">Nothing has been started yet.</p>'
    title = f"<strong>{escape(job.title)}</strong>"
    if job.state == WAITING:
        return f'<p class="state waiting" role="status">{title} waits; {_counted(place, "job")} before it.</p>'
    if job.state == RUNNING:
        now = "is asked to stop" if job.to_stop else escape(_progress(job))
        return f'<div class="state running" role="status">{title} {now}{_bar(job)}{log(job)}</div>'
    message = f": {escape(job.message)}" if job.message else ""
    return f'<p class="state {job.state}" role="status">{title} {WORDS[job.state]}{message}</p>'


def address(job: Job, name: str) -> str:
    """Of a file of the job."""
    return f"/jobs/{job.name}/{quote(name)}"


def frame(source: str, title: str) -> str:
    """Another page, shown within this one."""
    return f'<iframe class="result" title="{escape(title)}" src="{source}"></iframe>'


def links(addresses: dict[str, str], download: bool = False) -> str:
    """addresses: by the words for each."""
    how = "download" if download else 'target="_blank"'
    parts = [f'<a href="{source}" {how}>{escape(text)}</a>' for text, source in addresses.items()]
    return f'<p class="links">{" · ".join(parts)}</p>'


def pictures(job: Job, files: dict[str, str]) -> str:
    """Of the job, those that are there; files: by what they show."""
    there = {escape(text): address(job, file) for text, file in files.items() if (Path(job.folder) / file).exists()}
    figures = [
        f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'
        for text, source in there.items()
    ]
    return "".join(figures)


def _progress(job: Job) -> str:
    if not job.stage:
        return "starts"
    if not (job.total or job.done):
        return job.stage
    of = f" of {job.total}" if job.total else ""
    rate = f", {job.rate:.1f} a second" if job.rate else ""
    left = job.left()
    return f"{job.stage}: {job.done}{of}{rate}" + (f", {_time(left)} left" if left is not None else "")


def _bar(job: Job) -> str:
    value = f' value="{min(job.done, job.total)}" max="{job.total}"' if job.total else ""
    return f'<progress{value} aria-label="progress"></progress>'


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def log(job: Job) -> str:
    """The last lines of what the job's script printed."""
    text = tail(Path(job.folder))
    return f'<pre class="log">{escape(text)}</pre>' if text else ""
