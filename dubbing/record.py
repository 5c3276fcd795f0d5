"""What a dub leaves beside its video: <outfile>.json, which says what was done."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.sync import SyncResult
from utils.errors import InputError
from utils.files import read_json

ProgressBar = Callable[..., Iterable[Any]]  # called like tqdm: progress(items, desc=..., unit=..., total=...)

DUBBED, INTERPOLATED, UNCHANGED = "dubbed", "interpolated", "unchanged"  # states of a frame
STATES = (DUBBED, INTERPOLATED, UNCHANGED)


@dataclass(frozen=True)
class Record:
    """What was done: the content of <outfile>.json."""

    face: str
    audio: str
    outfile: str
    generator: dict[str, str]  # file, sha256
    refiner: dict[str, Any] | None  # file, size of its faces, origin of its references, number of refined frames
    engine: str
    precision: str
    device: str
    silent_share: float  # of the time, in which the mouth rests
    extend: str
    source_fps: float | None  # pictures a second in the video, None for a picture
    fps: float  # in the result, where the rate is constant
    encoder: str
    options: dict[str, str]  # of the encoder
    speech_seconds: float
    findings: list[str]  # what was found in the files and changed for the dub, as short phrases
    frames: int  # of the result; of these:
    dubbed: int
    interpolated: int  # between two detections
    unchanged: int  # no face, or nothing of it to be dubbed
    occlusion: dict[str, bool] | None  # with --occlusion, whether covered and turned faces can be told
    occluded: int  # frames in which something covers the mouth
    turned: int  # frames in which the mouth fades to the source, since the head is turned to the side
    ranges: dict[str, list[list[float]]]  # seconds of each state, [start, end]
    faces: dict[str, Any]  # detector, None for a box that was given; cached: whether nothing had to be detected
    damaged_packets: int
    batch_halved: int  # times that memory ran out
    sync: SyncResult | None  # None if nothing could be scored
    busy: dict[str, float]  # seconds that each stage worked; stages overlap
    settings: dict[str, Any]  # options that differ from their defaults
    part: list[float] | None = None  # seconds of the video that were used, None for all
    video_sha256: str | None = None  # of the video that this is the record of


def record_path(outfile: str | Path) -> Path:
    return Path(f"{outfile}.json")


def page_path(outfile: str | Path) -> Path:
    """Of the page that --report writes."""
    return Path(f"{outfile}.html")


def is_record(path: Path) -> bool:
    """Whether a file is the record of a dub, of this version or an earlier one."""
    try:
        content = read_json(path)
    except (OSError, InputError):
        return False
    return content.keys() >= {"face", "audio", "outfile"}


class StageTimer:
    """Seconds that each stage was busy; stages in several threads overlap."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - began

    def rounded(self) -> dict[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self._seconds.items()}


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

    def record(self) -> dict[str, Any]:
        """What a Record says of them."""
        ranges: dict[str, list[list[float]]] = {state: [] for state in STATES}
        for state, start, end in self._ranges:
            ranges[state].append([round(start, 3), round(end, 3)])
        return {"frames": sum(self.counts.values()), **self.counts, "ranges": ranges}
