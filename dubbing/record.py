"""What a dub leaves beside its video: <outfile>.json, and with --report <outfile>.png, a contact sheet."""

import json
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

import cli

STATES = ("dubbed", "bridged", "passed")
SHEET_COLUMNS, SHEET_WIDTH = 8, 240  # pictures side by side, and how wide each is
DIFFERENCE_GAIN = 4


class Stopwatch:
    """Seconds that each stage was busy; stages in several threads overlap."""

    def __init__(self):
        self.seconds = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str):
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began

    def each(self, stage: str, items):
        """The items, the time that each took to come noted."""
        items = iter(items)
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def rounded(self) -> dict:
        return {stage: round(seconds, 2) for stage, seconds in self.seconds.items()}


class States:
    """Which frames were dubbed, bridged or passed, as ranges of time."""

    def __init__(self):
        self.counts = dict.fromkeys(STATES, 0)
        self.ranges: list[list] = []  # [state, start, end], seconds

    def add(self, state: str, start: float, step: float) -> None:
        self.counts[state] += 1
        if self.ranges and self.ranges[-1][0] == state:
            self.ranges[-1][2] = start + step
        else:
            if self.ranges:
                self.ranges[-1][2] = start
            self.ranges.append([state, start, start + step])

    def to_dict(self) -> dict:
        ranges = {state: [] for state in STATES}
        for state, start, end in self.ranges:
            ranges[state].append([round(start, 3), round(end, 3)])
        return self.counts | {"ranges": ranges}


class ContactSheet:
    """Source, dubbed picture and their difference, at even times."""

    def __init__(self, frames: int):
        self.wanted = {int((n + 0.5) * frames / SHEET_COLUMNS) for n in range(SHEET_COLUMNS)}
        self.columns: list[np.ndarray] = []

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """BGR uint8 pictures of one size."""
        height = round(before.shape[0] * SHEET_WIDTH / before.shape[1])
        before, after = (cv2.resize(image, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA)
                         for image in (before, after))  # fmt: skip
        difference = np.clip(cv2.absdiff(before, after).astype(int) * DIFFERENCE_GAIN, 0, 255).astype(np.uint8)
        self.columns.append(np.vstack((before, after, difference)))

    def write(self, path: Path) -> None:
        if self.columns:
            part = path.with_name(f"{path.stem}.part{path.suffix}")
            part.write_bytes(cv2.imencode(".png", np.hstack(self.columns))[1].tobytes())
            part.replace(path)


def write_json(path: Path, record: dict) -> None:
    cli.write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
