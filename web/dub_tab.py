"""The tab that checks footage and dubs it, and the same for programs."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, fields, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from dubbing import Dubber
from dubbing.check import check
from dubbing.faces import FaceFinder, numbered_faces
from dubbing.options import PREVIEW, Options
from dubbing.record import page_path, record_path
from dubbing.samples import sample_faces
from dubbing.source import Source
from media import yuv
from models.published import BUNDLED, PUBLISHED, ROOT
from utils.devices import pick_device
from utils.errors import InputError
from utils.files import read_json, write_json
from utils.settings import format_value, help_text, value_type, with_overrides
from web.parts import JOBS, QUIET, cancels, counted, earlier_html, errors_shown, page_html, take
from web.site import Site

SERVERS = {"device", "hparams", "report", "preview", "no_cache", "overwrite"}  # settings that are not the visitor's
GENERATOR = "checkpoint_path"  # the one setting that names a file, of those that are offered
CHECKPOINTS = ROOT / "checkpoints"
FLAG = re.compile(r"--([a-z]\w*)")
DUB = "dub.mp4"  # in a job's folder, as all results that are called after it
NO_FACE = "No face in the first frame; one that comes later is found in a dub."
CHOOSE = "Click the face to dub; without a choice the largest one is followed."


def generators(site: Site) -> dict[str, str]:
    """Generators to choose from: label -> path, "" for what a dub takes by itself."""
    known = [file for file in (*PUBLISHED, *BUNDLED) if file.note.startswith("generator") and file.path.exists()]
    found = {f"{file.path.name} ({file.licence})": str(file.path) for file in known}
    found |= {path.relative_to(CHECKPOINTS).as_posix(): str(path) for path in sorted(CHECKPOINTS.glob("**/best.pth"))}
    for person, videos in site.video_folders().items():
        paths = sorted(site.run_folder(videos).glob("generator*/best.pth"))
        found |= {f"{person}: {path.parent.name}": str(path) for path in paths}
    return {"the best available": ""} | found


SETTINGS = {  # that visitors may change
    setting.name: setting for setting in fields(Options)
    if setting.name not in SERVERS and (value_type(setting) is not Path or setting.name == GENERATOR)
}  # fmt: skip


def setting_field(site: Site, setting: Field) -> gr.components.Component:
    """The field of a form for a setting."""
    kind, about = value_type(setting), setting.metadata
    default: Any = setting.default
    plain: dict[str, Any] = {
        "label": setting.name.replace("_", " "), "info": without_flags(help_text(setting)),
        "elem_id": f"setting_{setting.name}",
    }  # fmt: skip
    if setting.name == GENERATOR:
        labels = list(generators(site))
        return gr.Dropdown(labels, value=labels[0], **plain)
    if about["choices"]:
        return gr.Dropdown(list(about["choices"]), value=default, **plain)
    if kind is bool:
        return gr.Checkbox(default, **plain)
    if default is not None and kind in (int, float):
        digits = 0 if kind is int else None
        return gr.Number(default, precision=digits, minimum=about["minimum"], maximum=about["maximum"], **plain)
    return gr.Textbox("" if default is None else format_value(default), placeholder="automatic", **plain)


def without_flags(line: str) -> str:
    """A line that calls settings by their labels in the form, not by their flags."""
    return FLAG.sub(lambda flag: f"“{flag[1].replace('_', ' ')}”", line)


def dub_options(site: Site, values: Mapping[str, Any], **fixed: Any) -> Options:
    """The options of what a visitor entered; fixed: what the server decides. Raises InputError."""
    given = {name: value for name, value in values.items() if value not in (None, "")}
    for name, value in given.items():
        if name not in SETTINGS:
            raise InputError(f"{name}: no such setting")
        if isinstance(value, float) and value.is_integer():  # number fields give floats
            given[name] = int(value)
        if name == GENERATOR:
            offered = generators(site)
            if value not in offered:
                raise InputError(f"{name} {value}: choose from {', '.join(offered)}")
            given[name] = offered[value]
    return with_overrides(Options(**fixed), {name: value for name, value in given.items() if value != ""})


def build(site: Site, key: gr.BrowserState, opened: list[Callable]) -> None:
    """opened: the events after which there may be weights that were not there before."""
    settings = {}
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
            for title, common in {"Common settings": True, "Further settings": False}.items():
                with gr.Accordion(title, open=False):
                    for name, setting in SETTINGS.items():
                        if setting.metadata["common"] == common:
                            settings[name] = setting_field(site, setting)
        with gr.Column():
            with gr.Row():
                buttons = {
                    "check": gr.Button("Check", elem_id="check"),
                    "preview": gr.Button(f"Preview ({PREVIEW:g} s)", elem_id="preview"),
                    "dub": gr.Button("Dub", variant="primary", elem_id="dub"),
                }
                cancel = gr.Button("Cancel", variant="stop", elem_id="dub_cancel")
            results = gr.HTML(elem_id="dub_results", min_height=120)
            earlier = gr.HTML(elem_id="earlier")
    shown = gr.State(None)  # the first frame, uint8 BGR, and the boxes of its faces

    def look(upload: str | None) -> tuple[Any, ...]:
        if not upload:
            return gr.update(visible=False), "", None, ""
        try:
            image, boxes = first_frame(Path(upload), site.devices[0])
        except InputError as error:
            return gr.update(visible=False), f"**{escape(str(error).replace(upload, Path(upload).name))}**", None, ""
        text = NO_FACE if not len(boxes) else CHOOSE if len(boxes) > 1 else ""
        return gr.update(value=numbered_faces(image, boxes)[..., ::-1], visible=True), text, (image, boxes), ""

    def click(frame: tuple[np.ndarray, np.ndarray], event: gr.SelectData) -> tuple[Any, ...]:
        (image, boxes), (x, y) = frame, event.index
        inside = [number for number, (x1, y1, x2, y2) in enumerate(boxes) if x1 <= x <= x2 and y1 <= y <= y2]
        if not inside:
            return gr.skip(), gr.skip()
        return numbered_faces(image, boxes, inside[0])[..., ::-1], f"{x},{y}"

    def start(kind: str) -> Callable[..., str]:
        def started(given: dict[Any, Any], progress: Any = gr.Progress()) -> str:  # noqa: B008
            with errors_shown():
                options = dub_options(site, {name: given[field] for name, field in settings.items()}, report=True)
                session, sound = site.session(given[key]), given[speech] or given[voice]
                if kind == "check":
                    return check_html(site, session, given[face], sound, options, progress)
                options = replace(options, preview=PREVIEW) if kind == "preview" else options
                video = dub(site, session, given[face], sound, options, progress)
            return page_html(site, page_path(video), {"video": video, "record (JSON)": record_path(video)})

        return started

    gr.on(opened, lambda: gr.update(choices=list(generators(site))), None, settings[GENERATOR], **QUIET)
    face.change(look, face, [picture, note, shown, settings["face_at"]], api_visibility="private")
    picture.select(click, shown, [picture, settings["face_at"]], api_visibility="private", show_progress="hidden")
    given: set[Any] = {key, face, speech, voice, *settings.values()}
    events = [button.click(start(kind), given, results, **JOBS) for kind, button in buttons.items()]
    cancels(cancel, events, site, site.session, key, results)
    triggers: list[Any] = [*opened, *(event.then for event in events)]
    for trigger in triggers:
        trigger(lambda key: earlier_html(site, key), key, earlier, **QUIET)


def dub(
    site: Site, session: Path, face: str | None, speech: str | None, options: Options, progress: gr.Progress
) -> Path:
    """Dub uploaded files in a new folder of the session; returns the video. The networks of the device's last dub are
    used again, where they fit."""
    if not (face and speech):
        raise InputError("give a video or a picture with the face, and the speech: a sound file, or a video with sound")
    with site.job(session) as job:
        own_face = take(face, job, "face", site.options.max_seconds)
        own_speech = take(speech, job, "speech", site.options.max_seconds)
        dubber = Dubber(replace(options, device=job.device), site.networks.get(job.device))
        site.networks[job.device] = dubber.networks
        record = dubber.dub(own_face, own_speech, job.folder / DUB, counted(job, progress))
        write_json(record_path(job.folder / DUB), without_paths(asdict(record)))
        return job.folder / DUB


def check_html(
    site: Site, session: Path, face: str | None, speech: str | None, options: Options, progress: gr.Progress
) -> str:
    """What a check says of uploaded files, and its pictures."""
    if not face:
        raise InputError("give a video or a picture with the face")
    with site.job(session) as job:
        progress(None, "checking the footage")
        own_face = take(face, job, "face", site.options.max_seconds)
        own_speech = take(speech, job, "speech", site.options.max_seconds) if speech else None
        report = check(own_face, own_speech, job.folder / DUB, replace(options, device=job.device, report=False))
        job.check()
    lines = report.lines() + ([report.estimate.summary()] if report.estimate else [])
    lines = [escape(without_flags(line.replace(f"{job.folder}{os.sep}", ""))) for line in lines]
    pictures = {"faces": report.faces_picture, "mouths: source above, result below": report.mouths}
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" + "".join(
        f'<figure><img alt="{text}" src="{site.address(Path(path))}"><figcaption>{text}</figcaption></figure>'
        for text, path in pictures.items() if path
    )  # fmt: skip


def endpoints(site: Site) -> None:
    """/dub and /preview: files face and audio, settings by name -> the video and its record."""

    def endpoint(kind: str) -> Callable[..., tuple[str, dict]]:
        def call(
            face: str, audio: str, settings: dict | None = None, progress: Any = gr.Progress()  # noqa: B008
        ) -> tuple[str, dict]:  # fmt: skip
            with errors_shown():
                options = dub_options(site, settings or {}, preview=PREVIEW if kind == "preview" else None)
                video = dub(site, site.session(secrets.token_urlsafe()), face, audio, options, progress)
            return str(video), read_json(record_path(video))

        return call

    for kind in ("dub", "preview"):
        with gr.Group(visible=False):
            inputs = [gr.File(label="face"), gr.File(label="audio"), gr.JSON(label="settings")]
            results = [gr.File(label="video"), gr.JSON(label="record")]
            gr.Button().click(endpoint(kind), inputs, results, api_name=kind, concurrency_id="jobs")


def first_frame(face: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Of an upload, uint8 BGR [H, W, 3], and the boxes of its faces from the left, float [N, 4]: x1, y1, x2, y2 in
    pixels. Raises InputError for a file that cannot be read."""
    finder = FaceFinder(Source(face, Options(device=device)), 0.0, str(pick_device(device)))
    samples = sample_faces(finder, [0.0])
    (people,) = samples.detections.faces
    people = people[np.argsort(people[:, 0])]
    return yuv.to_bgr(samples.frames[0].picture), people[:, :4].astype(float)


def without_paths(content: Any) -> Any:
    """JSON content with the server's absolute paths cut down to file names."""
    if isinstance(content, dict):
        return {name: without_paths(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    return Path(content).name if isinstance(content, str) and Path(content).is_absolute() else content
