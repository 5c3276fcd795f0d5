"""What a dub leaves beside its video: <outfile>.json, which says what was done."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from metrics.sync import SyncResult
from utils.errors import InputError
from utils.files import read_json

ProgressBar = Callable[..., Iterable[Any]]  # called like tqdm: progress(items, desc=..., unit=..., total=...)

DUBBED, INTERPOLATED, UNCHANGED = "dubbed", "interpolated", "unchanged"  # states of a frame
MANY_UNCHANGED = 0.1  # share of the frames from which on it is mentioned
APART = 0.2  # seconds between frames that are not of one stretch
STATES = (DUBBED, INTERPOLATED, UNCHANGED)


@dataclass(frozen=True)
class Record:
    """What was done: the content of <outfile>.json."""

    face: str
    audio: str
    outfile: str
    generator: dict[str, str]  # file, sha256
    own_pixels: dict[str, Any] | None  # frames to choose from, faces that were changed; None where there are too few
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
    # each with number or place, audio, parts (all files and their starts), frames, ranges (with --speaking_only the
    # turns), sync and the like; above, these are of the person whose lips fit least
    people: list[dict[str, Any]] = field(default_factory=list)
    unsure: list[list[float]] = field(default_factory=list)  # seconds left as filmed, since it is not sure who is who


def remarks(record: Record) -> list[str]:
    """Why a dub may look weak, and what helps."""
    found, sync, by_turns = [], record.sync, record.settings.get("speaking_only")
    if record.unchanged > MANY_UNCHANGED * record.frames and not by_turns:
        found.append(
            f"{record.unchanged / record.frames:.0%} of the frames stay as filmed, for want of a face: use a part that "
            "shows it (--start, --end), or footage in which it is larger"
        )
    if sync and sync.kind in ("remark", "bad"):
        found.append(
            f"lips and sound are {abs(sync.offset)} frames apart: better weights, or weights trained on this person, "
            "follow the speech more closely"
        )
    if by_turns and not record.dubbed:
        found.append("nobody is dubbed, for it is nowhere sure who speaks: --face_index dubs one person throughout")
    if record.unsure:
        seconds = sum(end - start for start, end in record.unsure)
        found.append(f"{seconds:.1f} s stay as filmed, since it is not sure who is who")
    if sync and sync.kind == "unknown":
        found.append(
            "how well lips and speech fit cannot be told: speech without music or noise, and a face that looks at the "
            "camera, make a dub better, too"
        )
    return found


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


def ranges_of(times: list[float]) -> list[list[float]]:
    """The stretches that frames at these times make, [start, end] in seconds."""
    begins = [n for n, time in enumerate(times) if n == 0 or time > times[n - 1] + APART]
    return [[round(times[n], 3), round(times[end - 1], 3)] for n, end in pairwise([*begins, len(times)])]


def state_record(states: list[tuple[str, float]], step: float) -> dict[str, Any]:
    """What a Record says of the frames. states: of all of them, with the seconds at which they are shown; step: of the
    last one."""
    counts = {state: sum(state == other for other, _ in states) for state in STATES}
    ranges: dict[str, list[list[float]]] = {state: [] for state in STATES}
    begins = [n for n, (state, _) in enumerate(states) if n == 0 or state != states[n - 1][0]]
    ends = [states[n][1] for n in begins[1:]] + [states[-1][1] + step] if states else []
    for n, end in zip(begins, ends, strict=True):
        ranges[states[n][0]].append([round(states[n][1], 3), round(end, 3)])
    return {"frames": len(states), **counts, "ranges": ranges}
