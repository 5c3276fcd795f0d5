"""Parts of all tabs: uploads, progress, results as HTML, cancelling, errors."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import gradio as gr

from media.clock import read_clock, sound_track
from media.opening import open_media
from media.reader import open_still
from utils.errors import InputError
from web.site import Job, Site

JOBS: dict[str, Any] = {"concurrency_id": "jobs", "api_visibility": "private"}  # events that wait for a device
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # events nobody awaits


def take(upload: str, job: Job, name: str, max_seconds: float) -> Path:
    """A copy of an upload in the job's folder, under the name and its own suffix. Raises InputError for a file that
    cannot be read, or lasts longer."""
    path = job.folder / f"{name}{Path(upload).suffix.lower()}"
    shutil.copyfile(upload, path)
    if open_still(path):
        return path
    with open_media(path) as container:
        clock = read_clock(container, sound_track(container))
    seconds = max((span.end for span in (clock.picture, clock.sound) if span), default=0.0)
    if seconds > max_seconds:
        raise InputError(f"{path.name}: lasts {seconds:.0f} s; this server takes {max_seconds:g} s")
    return path


def counted(job: Job, progress: gr.Progress) -> Callable[..., Iterator[Any]]:
    """Called like tqdm: yields the items, in whatever thread, and counts them in the page. Raises Cancelled at the next
    one when the job is cancelled."""
    context = copy_context()  # that tells Gradio whose event it is

    def bar(items: Iterable[Any], desc: str = "", total: int | None = None, unit: str = "") -> Iterator[Any]:
        for number, item in enumerate(items):
            job.check()
            context.run(progress, (number, total), desc, unit=unit)
            yield item

    return bar


def page_html(site: Site, page: Path, files: Mapping[str, Path]) -> str:
    """A page that a job has made, and links to its files."""
    return f'<iframe class="result" title="results" src="{site.address(page)}"></iframe>{links_html(site, files)}'


def links_html(site: Site, files: Mapping[str, Path]) -> str:
    """files: by the text of each link."""
    links = [f'<a href="{site.address(path)}" target="_blank">{text}</a>' for text, path in files.items()]
    return f'<p class="links">{" · ".join(links)}</p>'


def earlier_html(site: Site, key: str) -> str:
    """Links to the pages that the visitor's jobs have made, the newest first, and whether one is running."""
    if not key:  # the first visit
        return ""
    session = site.session(key)
    by_time = {path.stat().st_mtime: path for path in session.glob("*/*.html")}
    links = {
        f"{by_time[at].name.partition('.')[0]} of {time.strftime('%H:%M:%S', time.localtime(at))}": by_time[at]
        for at in sorted(by_time, reverse=True)
    }
    running = "<p>A job of yours is running.</p>" if site.runs_in(session) else ""
    return running + (f"<h4>Earlier results</h4>{links_html(site, links)}" if links else "")


def cancels(
    button: gr.Button, events: list[Any], site: Site, folder: Callable[[Any], Path], given: Any, results: gr.HTML
) -> None:
    """Let a button cancel the jobs in folder(given), and those of the events that still wait for their turn."""

    def cancel(value: Any) -> str:
        with errors_shown():
            site.cancel(folder(value))
        return "cancelled"

    button.click(cancel, given, results, cancels=events, **QUIET)


@contextmanager
def errors_shown() -> Iterator[None]:
    """InputErrors are shown in the browser, or sent to the program that asked."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error
