"""What --report leaves beside a dub: <outfile>.png, a contact sheet, and <outfile>.html, where source and dub play in
step, enlarged at the mouth. Of what browsers do not play, copies in H.264 lie beside it: <outfile>.source.mp4 and
<outfile>.copy.mp4."""

import os
import sys
from dataclasses import replace
from itertools import islice
from math import ceil
from pathlib import Path

import cv2
import numpy as np

from dubbing.options import Options
from dubbing.record import Record, page_path
from dubbing.source import TOLERANCE, Source
from dubbing.stages import FrameTask
from media import yuv
from media.formats import BROWSER_PICTURES
from media.opening import plays_in_browsers
from media.reader import Still
from media.writer import VideoWriter
from metrics.glossary import GLOSSARY, KINDS, NOT_MEASURABLE, WHY_NOT_MEASURABLE, format_offset, format_sync
from metrics.sync import SyncResult
from reports import page
from reports.page import html
from utils import images
from utils.images import Rect
from utils.progress import Progress

COLUMNS, SIDE = 8, 240  # faces side by side in the contact sheet, and how many pixels each measures
MARGIN = 0.05  # what a face of the sheet shows around it, in parts of its rect's longer side
DIFFERENCE_GAIN = 4
BOX_STEP = 0.2  # seconds between the face boxes that the page has
COPY_SIDE, COPY_CRF, COPY_PRESET = 960, 26, "veryfast"  # of copies for browsers: the longest side, and how encoded
PLAIN = Options(fps="source", codec="h264", crf=COPY_CRF, preset=COPY_PRESET)  # a video as it is, encoded again


class DubReport:
    """Collects, frame by frame, what the report shows. frames: about how many there will be."""

    def __init__(self, frames: int, source: Source) -> None:
        self._source = source
        self._wanted = {int((n + 0.5) * frames / COLUMNS) for n in range(COLUMNS)}
        self._source_plays = source.reader is None or plays_in_browsers(source.path)
        self._seen, self._start = 0, source.part[0] if source.part and self._source_plays else 0.0
        self._first_times: dict[int, float] = {}  # by number of a frame of the source, when it was first shown
        self._box: list[float] = []  # the latest: left, top, width, height in parts of the frame
        self._boxes: list[list[float]] = []  # time, time in the source, and the box then
        self._columns: list[str] = []
        self._rows: dict[str, list[np.ndarray]] = {"source": [], "result": [], f"difference x{DIFFERENCE_GAIN}": []}

    def note(self, task: FrameTask) -> bool:
        """Where the face is in the next frame; whether add() is to be given its pictures."""
        time, wanted = task.frame.time, self._seen in self._wanted
        self._seen += 1
        shown = self._first_times.setdefault(task.frame.number, time)
        face = task.loudest
        if face:
            self._box = _in_parts(face.region.rect, self._source.width, self._source.height)
        if self._box and (not self._boxes or time >= self._boxes[-1][0] + BOX_STEP - TOLERANCE):
            self._boxes.append([round(time, 3), round(self._start + shown, 3), *self._box])
        return wanted and face is not None

    def add(self, time: float, before: np.ndarray, after: np.ndarray, face: Rect) -> None:
        """before, after: BGR uint8 pictures of one size; face: where the face is in them."""
        source, result = (images.square_around(picture, face, MARGIN, SIDE) for picture in (before, after))
        difference = np.clip(cv2.absdiff(source, result).astype(int) * DIFFERENCE_GAIN, 0, 255).astype(np.uint8)
        self._columns.append(format_time(time))
        for row, picture in zip(self._rows.values(), (source, result, difference), strict=True):
            row.append(picture)

    def write(self, record: Record) -> None:
        """Write <outfile>.png and <outfile>.html."""
        outfile = Path(record.outfile)
        png = Path(f"{outfile}.png")
        if self._columns:
            images.write_png(png, images.labelled_rows(self._rows, self._columns))
        else:
            print(f"{png}: not written, since no face is shown at its times", file=sys.stderr, flush=True)
        source, dub = self._source, outfile
        if outfile.exists() and not plays_in_browsers(outfile):
            dub = _copy(outfile, PLAIN, Path(f"{outfile}.copy.mp4"), with_sound=True)
        whole = source.scaled[::-1] if source.options.rotate else source.scaled  # of which the dub shows `part`
        data = {"boxes": self._boxes, "rotate": source.options.rotate, "part": _in_parts(source.cropped, *whole)}
        links = {
            "the dub": page.address(outfile.name),
            "the source": _from(outfile.parent, Path(record.face)),
            "what was done, and the scores (JSON)": page.address(f"{outfile.name}.json"),
        }
        page.write(
            page_path(outfile), outfile.name, _parts(record), "dub.html",
            dub=page.address(dub.name), source=self._source_for_browsers(outfile), still=source.reader is None,
            names=(outfile.name, Path(record.face).name), sheet=page.address(png.name) if self._columns else None,
            links=links, data=data, seconds=_seconds(record.sync, record.frames / record.fps),
            note=WHY_NOT_MEASURABLE, kinds=KINDS,
        )  # fmt: skip

    def _source_for_browsers(self, outfile: Path) -> str:
        """The address of the source, or of a copy of what the dub shows of it."""
        source, still = self._source, isinstance(self._source.opened, Still)
        copy = Path(f"{outfile}.source{'.png' if still else '.mp4'}")
        plays = source.path.suffix.lower() in BROWSER_PICTURES if still else self._source_plays
        if plays or copy.resolve() == source.path.resolve():
            return _from(outfile.parent, source.path)
        if isinstance(source.opened, Still):
            images.write_png(copy, yuv.to_bgr(source.opened.picture))
        else:
            start, end = source.part or (0.0, None)
            part = replace(PLAIN, static=source.still, start=start, end=end)
            _copy(source.path, part, copy, max(self._first_times, default=0) + 1)
        return page.address(copy.name)


def _copy(path: Path, options: Options, copy: Path, frames: int | None = None, with_sound: bool = False) -> Path:
    """A small H.264 copy of a video's first frames, which appears under its name when it is whole."""
    source = Source(path, options)
    factor = ceil(max(source.width, source.height) / COPY_SIDE)
    source = source if factor == 1 else Source(path, replace(options, resize_factor=factor))
    sound = path if with_sound and source.reader and source.reader.has_sound else None
    with VideoWriter(copy, source.rate, sound, source.opened, source.encoding) as writer:
        shown = islice(source.iter_once(), frames)
        for frame in Progress(shown, f"{copy.name}, which browsers play", unit="frame", total=frames, leave=False):
            writer.write_picture(frame.picture, frame.time)
    return copy


def format_time(seconds: float) -> str:
    """As players give times: 83.24 is 1:23.2."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}"


def _in_parts(rect: Rect, width: int, height: int) -> list[float]:
    parts = rect.x1 / width, rect.y1 / height, rect.width / width, rect.height / height
    return [round(part, 4) for part in parts]


def _from(folder: Path, file: Path) -> str:
    """The file's address for a page in the folder: relative where the two share a drive."""
    try:
        return page.address(os.path.relpath(file.resolve(), folder.resolve()))
    except ValueError:
        return file.resolve().as_uri()


def _parts(record: Record) -> list:
    """What was done: lines of text and a table of scores."""
    own = f"{record.own_pixels['used']} frames" if record.own_pixels else "no"
    facts = {
        "frames": record.frames, "dubbed": record.dubbed, "interpolated": record.interpolated,
        "unchanged": record.unchanged, "own mouth": own, "generator": Path(record.generator["file"]).name,
        "encoder": record.encoder,
    }  # fmt: skip
    notes = {
        "interpolated": "The face was not found there; its place is taken from the frames before and after.",
        "unchanged": "No face, or nothing of it to be dubbed: these frames are as in the source.",
        "own mouth": "Frames whose mouth comes from other moments of the video (--own_pixels).",
    }
    parts = [html.heading("What was done"), html.facts(facts, notes)]
    scores = [record.sync]
    if len(record.people) > 1:
        rows = [("person", "speech", "frames", "dubbed")]
        for person in record.people:
            when = ", ".join(f"{format_time(start)} to {format_time(end)}" for start, end in person["ranges"])
            rows.append((person["person"], Path(person["audio"]).name, str(person["frames"]), when or "never"))
        parts.append(html.table(rows))
        scores = [person["sync"] for person in record.people]
    for sync in filter(None, scores):
        facts = {"offset": format_offset(sync), "LSE-C": f"{sync.lse_c:.2f}", "LSE-D": f"{sync.lse_d:.2f}"}
        parts += [html.text(format_sync(sync), sync.kind), html.facts(facts, GLOSSARY)]
    return parts + [html.text(f"found: {finding}") for finding in record.findings]


def _seconds(sync: SyncResult | None, length: float) -> list[tuple[str, str]]:
    """Of each second of the dub, its kind and what is said of it; none where nothing was scored."""
    if sync is None:
        return []
    scored = {second.second: second for second in sync.seconds}
    found = []
    for number in range(max(1, round(length))):
        score = scored.get(number)
        words = NOT_MEASURABLE
        if score and score.measurable:
            words = f"offset {score.offset:+d} frames, confidence {score.lse_c:.2f}"
        found.append((sync.kind_of(score), f"{format_time(number)}: {words}"))
    return found
