"""The tab that dubs, and its interface for programs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from dubbing.options import PREVIEW, Options
from utils.errors import InputError
from web import found, look, view, work
from web.files import new_key
from web.forms import Form, entered
from web.jobs import DONE, Job
from web.panel import QUIET, Panel, waited_for
from web.site import Site

SERVERS = {"device", "hparams", "report", "preview", "no_cache", "overwrite"}  # settings that are not the visitor's


def form(site: Site) -> Form:
    choices = {"checkpoint_path": partial(found.generators, site), "refine": partial(found.refiners, site)}
    return Form(Options, choices, SERVERS)


def build(site: Site, key: gr.BrowserState, opened: list[Callable]) -> None:
    """opened: the events after which weights may be there that were not before."""
    fields = form(site)
    with gr.Row():
        with gr.Column():
            face = gr.File(label="Video or picture with the face", elem_id="face")
            picture = gr.Image(
                label="The first frame", visible=False, interactive=False, elem_id="faces", buttons=["fullscreen"]
            )
            note = gr.Markdown(elem_id="face_note")
            speech = gr.File(label="Speech: a sound file, or a video's sound", elem_id="speech")
            voice = gr.Audio(
                sources=["microphone"], type="filepath", label="or speak", elem_id="voice", buttons=["download"]
            )
            with gr.Accordion("Common settings", open=False):
                settings = fields.components(common=True)
            with gr.Accordion("Further settings", open=False):
                settings |= fields.components(common=False)
        with gr.Column():
            with gr.Row():
                preview = gr.Button(f"Preview ({PREVIEW:g} s)", elem_id="preview")
                start = gr.Button("Dub", variant="primary", elem_id="dub")
            panel = Panel(site, key, ("dub", "preview"), show)
    names, values = list(settings), list(settings.values())
    seen: gr.State = gr.State(None)  # the FirstFrame that is shown

    def looked(session: str, upload: str | None) -> Iterator[tuple[Any, ...]]:
        """The faces of the first frame at once, and later what is wrong with the footage."""
        if not upload:
            yield gr.update(visible=False), "", None, ""
            return
        options, path = Options(device=site.first_device), Path(upload)
        try:
            path = site.files.take(upload, site.files.new_job(session), "face")
            site.check_length(path)
            first = look.first_frame(path, options)
            yield gr.update(value=first.drawn(), visible=True), f"{first.in_words()} (looking at the rest)", first, ""
            yield gr.skip(), f"{first.in_words()}\n\n{look.remarks(path, options)}", gr.skip(), gr.skip()
        except InputError as error:
            yield gr.update(visible=False), f"**{look.plain(str(error), path)}**", None, ""

    def clicked(first: look.FirstFrame | None, event: gr.SelectData) -> tuple[Any, ...]:
        number = first.at(*event.index) if first else None
        if first is None or number is None:
            return gr.skip(), gr.skip()
        return first.drawn(number), first.centre(number)

    gr.on(opened, fields.offered, None, [settings[name] for name in fields.choices], **QUIET)
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    face.change(looked, [key, face], [picture, note, seen, settings["face_at"]], concurrency_limit=1, **private)
    picture.select(clicked, [seen], [picture, settings["face_at"]], **private)

    def submit(kind: str) -> Callable[..., str]:
        def started(session: str, face: str | None, speech: str | None, voice: str | None, *given: Any) -> str:
            options = fields.options(entered(names, given), report=True)
            return begin(site, session, kind, face, speech or voice, options).name

        return started

    inputs = [key, face, speech, voice, *values]
    for button, kind in ((preview, "preview"), (start, "dub")):
        panel.starts(button.click, submit(kind), inputs)


def begin(site: Site, key: str, kind: str, face: str | None, speech: str | None, options: Options) -> Job:
    """Queue a dub of uploaded files."""
    if not face:
        raise InputError("give a video or a picture with the face")
    if not speech:
        raise InputError("give the speech: a sound file, or a video with sound")
    folder = site.files.new_job(key)
    own_face, own_speech = site.files.take(face, folder, "face"), site.files.take(speech, folder, "speech")
    options = replace(options, preview=PREVIEW) if kind == "preview" else options
    title = f"{'Preview' if kind == 'preview' else 'Dub'} of {Path(face).name}"
    return site.submit(key, kind, title, folder, work.dub(site, own_face, own_speech, options))


def show(job: Job) -> str:
    """The results of a dub, or the faces to choose from where that is why there are none."""
    if job.state != DONE:
        return view.pictures(job, {"faces": work.FACES})
    files = {"video": view.address(job, work.DUB), "record (JSON)": view.address(job, work.RECORD)}
    shown = view.frame(view.address(job, work.PAGE), "source and dub, side by side")
    return shown + view.links(files, download=True)


def endpoints(site: Site) -> None:
    """/dub and /preview: files face and audio, and the settings by name -> the video and the record."""
    fields = form(site)
    for kind in ("dub", "preview"):
        with gr.Group(visible=False):
            files = [gr.File(label=name) for name in ("face", "audio")]
            texts = [gr.Textbox(label=setting.name) for setting in fields.settings]
            results = [gr.File(label="video"), gr.JSON(label="record")]
            button = gr.Button()
        button.click(_endpoint(site, fields, kind), [*files, *texts], results, api_name=kind, concurrency_limit=None)


def _endpoint(site: Site, fields: Form, kind: str) -> Callable[..., Any]:
    names = [setting.name for setting in fields.settings]

    async def call(face: str, audio: str, *texts: str) -> tuple[str, dict]:
        try:
            options = fields.options(entered(names, texts), report=True)
            job = begin(site, new_key(), kind, face, audio, options)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        await waited_for(site, job)
        return str(Path(job.folder) / work.DUB), job.result["record"]

    call.__signature__ = fields.signature("face", "audio")  # type: ignore[attr-defined]
    return call
