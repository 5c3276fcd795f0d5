"""What a dub leaves beside its video: <outfile>.json, and with --report <outfile>.png, a contact sheet."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from utils import sheet
from utils.files import write_bytes, write_json
from utils.geometry import Rect

Item = TypeVar("Item")
Progress = Callable[..., Iterable[Any]]  # called like tqdm: progress(items, desc=..., unit=..., total=...)

DUBBED, INTERPOLATED, UNCHANGED = "dubbed", "interpolated", "unchanged"  # states of a frame
STATES = (DUBBED, INTERPOLATED, UNCHANGED)
SHEET_COLUMNS, SHEET_SIDE = 8, 240  # faces side by side, and how many pixels each measures
SHEET_MARGIN = 0.05  # what a face of the sheet shows around it, in parts of its rect's longer side
DIFFERENCE_GAIN = 4


@dataclass(frozen=True)
class Record:
    """What was done: the content of <outfile>.json.

    source_fps: pictures a second in the video, None for a picture; fps: in the result, where the rate is constant;
    refiner: its file, the size of its faces, where its references came from and how many frames were refined; frames,
    and of these dubbed, interpolated (between two detections) and unchanged (no face, or nothing of it to be dubbed);
    occlusion: with --occlusion, whether covered and turned faces could be told; occluded, turned: frames in which
    something covers the mouth, or it fades to the source as the head is turned to the side; findings: what was found in
    the files and changed for the dub, in words; ranges: the times of each state in seconds; sync: offset, LSE-D and
    LSE-C as evaluate.py gives them, None where nothing could be scored; busy: seconds that each stage worked, which
    overlap; settings: the options that are not as by default; part: seconds of the video that were used, None for all;
    final_audio: what is heard in place of `audio`; redone: seconds that were made again since, how, and their score,
    of which `sync` and `busy` know nothing (dubbing/redo.py).
    """

    face: str
    audio: str
    outfile: str
    generator: dict[str, str]
    refiner: dict[str, Any] | None
    precision: str
    device: str
    timing: str
    paste: str
    silence: str
    silent_share: float
    extend: str
    source_fps: float | None
    fps: float
    encoder: str
    options: dict[str, str]
    speech_seconds: float
    findings: list[str]
    preview_seconds: float | None
    frames: int
    dubbed: int
    interpolated: int
    unchanged: int
    occlusion: dict[str, bool] | None
    occluded: int
    turned: int
    ranges: dict[str, list[list[float]]]
    faces: dict[str, Any]
    damaged_packets: int
    batch_halved: int
    sync: dict[str, Any] | None
    busy: dict[str, float]
    settings: dict[str, Any]
    part: list[float] | None = None
    final_audio: str | None = None
    redone: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> None:
        """Write <outfile>.json."""
        write_json(record_path(self.outfile), asdict(self))


def record_path(outfile: str | Path) -> Path:
    return Path(f"{outfile}.json")


def is_record(path: Path) -> bool:
    """Whether a file is a record, of this version or an earlier one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.keys() >= {"face", "audio", "outfile"}


class StageTimer:
    """Seconds that each stage was busy; stages in several threads overlap."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - began

    def each(self, stage: str, items: Iterable[Item]) -> Generator[Item, None, None]:
        """The items; the time that each took to come is added to the stage."""
        iterator = iter(items)
        while True:
            with self(stage):
                item = next(iterator, END)
            if item is END:
                return
            yield item  # type: ignore[misc]

    def rounded(self) -> dict[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self._seconds.items()}


END = object()


class StateLog:
    """Which frames were dubbed, interpolated or unchanged, as ranges of time."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(STATES, 0)
        self._ranges: list[tuple[str, float, float]] = []  # state, start, end in seconds

    def add(self, state: str, start: float, step: float) -> None:
        """A frame that is shown from `start` for `step` seconds."""
        self.counts[state] += 1
        if self._ranges:
            last, began, _ = self._ranges.pop()
            self._ranges.append((last, began, start))
            if last == state:
                self._ranges[-1] = (state, began, start + step)
                return
        self._ranges.append((state, start, start + step))

    def ranges(self) -> dict[str, list[list[float]]]:
        """By state, [start, end] in seconds."""
        ranges: dict[str, list[list[float]]] = {state: [] for state in STATES}
        for state, start, end in self._ranges:
            ranges[state].append([round(start, 3), round(end, 3)])
        return ranges


class ContactSheet:
    """The face in the source and in the dubbed picture, and the difference, at even times."""

    def __init__(self, frames: int) -> None:
        self.wanted = {int((n + 0.5) * frames / SHEET_COLUMNS) for n in range(SHEET_COLUMNS)}
        self._rows: dict[str, list[np.ndarray]] = {"source": [], "result": [], "difference": []}

    def add(self, before: np.ndarray, after: np.ndarray, face: Rect) -> None:
        """before, after: BGR uint8 pictures of one size; face: where the face is in them."""
        source, result = _face(before, face), _face(after, face)
        difference = np.clip(cv2.absdiff(source, result).astype(int) * DIFFERENCE_GAIN, 0, 255).astype(np.uint8)
        for row, picture in zip(self._rows.values(), (source, result, difference), strict=True):
            row.append(picture)

    def write(self, path: Path) -> None:
        if not self._rows["source"]:
            print(f"{path}: is not written, no face is shown at its times", file=sys.stderr, flush=True)
            return
        write_bytes(path, cv2.imencode(".png", sheet.labelled_rows(self._rows))[1].tobytes())


def _face(picture: np.ndarray, rect: Rect) -> np.ndarray:
    """A square around the face, of SHEET_SIDE pixels; it goes on with the frame's last pixels beyond the frame."""
    side = round(max(rect.width, rect.height) * (1 + 2 * SHEET_MARGIN))
    x, y = (rect.x1 + rect.x2 - side) // 2, (rect.y1 + rect.y2 - side) // 2
    rows = np.clip(np.arange(y, y + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(x, x + side), 0, picture.shape[1] - 1)
    way = cv2.INTER_AREA if side > SHEET_SIDE else cv2.INTER_CUBIC
    return cv2.resize(picture[rows[:, None], columns], (SHEET_SIDE, SHEET_SIDE), interpolation=way)
