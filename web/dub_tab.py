"""The tab that checks footage and dubs it, and the same for programs."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from dubbing.options import PREVIEW, Options
from utils.errors import InputError
from utils.files import write_json
from web import panel
from web.forms import Form, without_flags
from web.jobs import DONE, Control, Job, Work
from web.panel import QUIET, Panel, with_errors_shown
from web.site import Site, new_key, without_paths

SERVERS = {"device", "hparams", "report", "preview", "no_cache", "overwrite"}  # settings that are not the visitor's
DUB = "dub.mp4"  # in a job's folder, as all results that are called after it
RECORD, PAGE, FACES, MOUTHS = f"{DUB}.json", f"{DUB}.html", f"{DUB}.faces.png", f"{DUB}.check.png"
CHECK_PICTURES = {"faces": FACES, "mouths: source above, result below": MOUTHS}
NO_FACE = "No face in the first frame; one that comes later is found in a dub."
CHOOSE = "Click the face to dub; without a choice the largest one is followed."


def form(site: Site) -> Form:
    return Form(Options, {"checkpoint_path": site.generators, "refine": site.refiners}, SERVERS)


def build(site: Site, key: gr.BrowserState, opened: list[Callable]) -> None:
    """opened: the events after which there may be weights that were not there before."""
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
                buttons = {
                    "check": gr.Button("Check", elem_id="check"),
                    "preview": gr.Button(f"Preview ({PREVIEW:g} s)", elem_id="preview"),
                    "dub": gr.Button("Dub", variant="primary", elem_id="dub"),
                }
            shown = Panel(site, key, ("dub", "preview", "check"), show)
    first: gr.State = gr.State(None)  # the FirstFrame that is shown

    def look(session: str, upload: str | None) -> Iterator[tuple[Any, ...]]:
        """The faces of the first frame at once, and later what is wrong with the footage."""
        if not upload:
            yield gr.update(visible=False), "", None, ""
            return
        options, path = Options(device=site.first_device), Path(upload)
        try:
            path = site.files.take(upload, site.files.new_job(session), "face")
            site.check_length(path)
            frame = first_frame(path, options)
            yield gr.update(value=frame.drawn(), visible=True), f"{frame.note()} (looking at the rest)", frame, ""
            lines = check_lines(path, None, path.with_name(DUB), options)[0]
            text = "\n\n".join([frame.note(), *(line.replace("<", "&lt;") for line in lines)])
            yield gr.skip(), text, gr.skip(), gr.skip()
        except InputError as error:
            text = for_visitors(str(error), path).replace("<", "&lt;")
            yield gr.update(visible=False), f"**{text}**", None, ""

    def click(frame: "FirstFrame | None", event: gr.SelectData) -> tuple[Any, ...]:
        number = frame.at(*event.index) if frame else None
        if frame is None or number is None:
            return gr.skip(), gr.skip()
        return frame.drawn(number), frame.centre(number)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on(opened, fields.offered, None, [settings[name] for name in fields.choices], **QUIET)
    face.change(look, [key, face], [picture, note, first, settings["face_at"]], concurrency_limit=1, **private)
    picture.select(click, [first], [picture, settings["face_at"]], **private)

    def submit(kind: str) -> Callable[..., None]:
        def started(session: str, face: str | None, speech: str | None, voice: str | None, *given: Any) -> None:
            options = fields.options(dict(zip(settings, given, strict=True)), report=True)
            begin(site, session, kind, face, speech or voice, options)

        return started

    for kind, button in buttons.items():
        shown.starts(button.click, submit(kind), [key, face, speech, voice, *settings.values()])


def begin(site: Site, key: str, kind: str, face: str | None, speech: str | None, options: Options) -> Job:
    """Queue a dub, its preview, or a check of uploaded files."""
    if not face:
        raise InputError("give a video or a picture with the face")
    if not speech and kind != "check":
        raise InputError("give the speech: a sound file, or a video with sound")
    folder = site.files.new_job(key)
    own_face = site.files.take(face, folder, "face")
    own_speech = site.files.take(speech, folder, "speech") if speech else None
    if kind == "preview":
        options = replace(options, preview=PREVIEW)
    work = _check(site, own_face, own_speech, options) if own_speech is None or kind == "check" else (
        _dub(site, own_face, own_speech, options)
    )  # fmt: skip
    return site.submit(key, kind, f"{kind.capitalize()} of {Path(face).name}", folder, work)


def _dub(site: Site, face: Path, speech: Path, options: Options) -> Work:
    def work(control: Control) -> dict[str, Any]:
        site.check_length(face)
        site.check_length(speech)
        record = site.dubber(control, options).dub(face, speech, control.folder / DUB, control.progress)
        shown = without_paths(asdict(record))
        write_json(control.folder / RECORD, shown)
        return {"record": shown}

    return work


def _check(site: Site, face: Path, speech: Path | None, options: Options) -> Work:
    def work(control: Control) -> dict[str, Any]:
        for path in filter(None, (face, speech)):
            site.check_length(path)
        device = replace(options, device=control.device, report=False)
        lines, report = check_lines(face, speech, control.folder / DUB, device)
        return {"lines": lines, "report": report}

    return work


def check_lines(face: Path, speech: Path | None, outfile: Path, options: Options) -> tuple[list[str], dict]:
    """What a check says of the footage, line by line, and its report without the server's paths."""
    from dubbing.check import check

    report = check(face, speech, outfile, options)
    lines = [for_visitors(line, face) for line in report.lines()]
    cost = [report.estimate.summary()] if report.estimate else []
    return lines + cost, without_paths(asdict(report))


def for_visitors(line: str, face: Path) -> str:
    """A line without the server's paths and flags."""
    return without_flags(line.replace(f"--face {face}: ", "").replace(str(face), face.name))


def show(job: Job) -> str:
    """The results of a job; of one that failed the faces to choose from, where that is why."""
    if job.state != DONE:
        return panel.pictures_html(job, {"faces": FACES})
    if job.kind == "check":
        lines = "".join(f"<li>{escape(line)}</li>" for line in job.result["lines"])
        return f"<ul>{lines}</ul>{panel.pictures_html(job, CHECK_PICTURES)}"
    files = {"video": panel.address(job, DUB), "record (JSON)": panel.address(job, RECORD)}
    page = panel.frame_html(panel.address(job, PAGE), "source and dub, side by side")
    return page + panel.links_html(files, download=True)


def endpoints(site: Site) -> None:
    """/dub and /preview: files face and audio, settings by name -> the video and its record."""
    fields = form(site)
    for kind in ("dub", "preview"):

        async def call(face: str, audio: str, settings: dict | None = None, kind: str = kind) -> tuple[str, dict]:
            options = with_errors_shown(lambda: fields.options(settings or {}, report=True))
            job = with_errors_shown(begin, site, new_key(), kind, face, audio, options)
            await panel.finished(site, job)
            return str(Path(job.folder) / DUB), job.result["record"]

        with gr.Group(visible=False):
            inputs = [gr.File(label="face"), gr.File(label="audio"), gr.JSON(label="settings")]
            results = [gr.File(label="video"), gr.JSON(label="record")]
            gr.Button().click(call, inputs, results, api_name=kind, concurrency_limit=None)


@dataclass(frozen=True)
class FirstFrame:
    """The first frame of a video that was uploaded, with its faces."""

    picture: np.ndarray  # uint8 BGR [H, W, 3]
    boxes: np.ndarray  # float [N, 4] from the left, x1 y1 x2 y2 in pixels

    def note(self) -> str:
        return NO_FACE if not len(self.boxes) else CHOOSE if len(self.boxes) > 1 else ""

    def at(self, x: float, y: float) -> int | None:
        """The number of the face there."""
        inside = [x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in self.boxes]
        return inside.index(True) if any(inside) else None

    def centre(self, number: int) -> str:
        """Of a face, as --face_at takes it."""
        x1, y1, x2, y2 = self.boxes[number]
        return f"{(x1 + x2) / 2:.0f},{(y1 + y2) / 2:.0f}"

    def drawn(self, chosen: int | None = None) -> np.ndarray:
        """uint8 RGB [H, W, 3], the faces boxed and numbered."""
        from dubbing.faces import numbered_faces

        return np.ascontiguousarray(numbered_faces(self.picture, self.boxes, chosen)[..., ::-1])


def first_frame(face: Path, options: Options) -> FirstFrame:
    """Raises InputError for a file that cannot be read."""
    from dubbing.faces import FaceFinder
    from dubbing.samples import sample_faces
    from dubbing.source import Source
    from media import yuv
    from utils.devices import pick_device

    finder = FaceFinder(Source(face, options), "yuv420p", 0.0, str(pick_device(options.device)))
    samples = sample_faces(finder, [0.0])
    frames, (people,) = samples.frames, samples.detections.faces
    people = people[np.argsort(people[:, 0])]  # from the left, as --face_index counts
    return FirstFrame(yuv.to_bgr(frames[0].picture), people[:, :4].astype(float))
