"""Parts of the tabs: forms made from classes of options, what becomes of uploads, results as HTML, errors."""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from media.clock import read_clock, sound_track
from media.files import open_media
from media.reader import open_still
from utils.errors import InputError
from utils.options import Options, changed, help_text, value_type, written
from web.site import Job, Site

FLAG = re.compile(r"--([a-z]\w*)")
JOBS: dict[str, Any] = {"concurrency_id": "jobs", "api_visibility": "private"}  # events that wait for a device
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # events nobody awaits


class Form:
    """The fields of an options class, by the names of its settings. Settings that name files are offered only where
    `choices` lists what may be chosen: label -> value, asked for whenever it is shown."""

    def __init__(
        self, options_class: type[Options], choices: Mapping[str, Callable[[], Mapping[str, str]]], hidden: set[str]
    ) -> None:
        self.options_class, self.choices = options_class, choices
        settings = [setting for setting in fields(options_class) if setting.name not in hidden]
        self.settings = [s for s in settings if value_type(s) is not Path or s.name in choices]

    def components(self, common: bool) -> dict[str, gr.components.Component]:
        """Fields of the common settings, or of the further ones, placed where the layout stands."""
        return {s.name: self._component(s) for s in self.settings if bool(s.metadata["common"]) == common}

    def options(self, values: Mapping[str, Any], **fixed: Any) -> Any:
        """The options of what a visitor entered; fixed: what the server decides. Raises InputError."""
        known = {setting.name for setting in self.settings}
        given = {name: value for name, value in values.items() if value not in (None, "")}
        for name, value in given.items():
            if name not in known:
                raise InputError(f"{name}: no such setting")
            if isinstance(value, float) and value.is_integer():  # number fields give floats
                given[name] = int(value)
        for name in self.choices.keys() & given.keys():
            offered = self.choices[name]()
            if given[name] not in offered:
                raise InputError(f"{name} {given[name]}: choose from {', '.join(offered)}")
            given[name] = offered[given[name]]
        return changed(self.options_class(**fixed), {name: value for name, value in given.items() if value != ""})

    def offered(self) -> list[dict]:
        """The present choices, as updates of their fields."""
        return [gr.update(choices=list(choices())) for choices in self.choices.values()]

    def _component(self, setting: Field) -> gr.components.Component:
        kind, about = value_type(setting), setting.metadata
        default: Any = None if setting.default is MISSING else setting.default
        info = without_flags(help_text(setting))
        plain: dict[str, Any] = {
            "label": setting.name.replace("_", " "), "info": info, "elem_id": f"setting_{setting.name}"
        }  # fmt: skip
        if setting.name in self.choices:
            labels = list(self.choices[setting.name]())
            return gr.Dropdown(labels, value=labels[0], **plain)
        if about["choices"]:
            return gr.Dropdown(list(about["choices"]), value=default, **plain)
        if kind is bool:
            return gr.Checkbox(bool(default), **plain)
        if default is not None and kind in (int, float):
            bounds: dict[str, Any] = {"minimum": about["minimum"], "maximum": about["maximum"]}
            return gr.Number(default, precision=0 if kind is int else None, **plain, **bounds)
        return gr.Textbox("" if default is None else written(default), placeholder="automatic", **plain)


def without_flags(line: str) -> str:
    """A line that calls settings by their labels in the form, not by their flags."""
    return FLAG.sub(lambda flag: f"“{flag[1].replace('_', ' ')}”", line)


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
