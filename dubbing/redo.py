"""Some seconds of an earlier dub made again with other settings; all that lies outside stays as it is.

12.0-15.5      of out.mp4, which out.mp4.json says how to make
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dubbing.options import Options
from dubbing.record import STATES, Record, StateLog, digest, record_path
from media.splice import PacketIndex
from utils.errors import InputError
from utils.options import changed

TOLERANCE = 2e-3  # seconds; stamps and records are rounded to milliseconds
CHANGEABLE = {  # what decides neither which frames there are nor how they are encoded
    "checkpoint_path", "pads", "face_det_batch_size", "wav2lip_batch_size", "box", "face_at", "face_index", "align",
    "nosmooth", "published_timing", "paste", "refine", "occlusion", "silence", "level", "no_score", "report",
    "precision", "engine", "no_cache", "face_detector", "hparams", "device", "decoder", "overwrite",
}  # fmt: skip


@dataclass(frozen=True)
class Redo:
    """path, record: the earlier dub and what is beside it; outfile: where the new one goes; options: the earlier ones,
    with those that are changed; new: the latter; seconds: to be made again; index: of the earlier packets; frames:
    the numbers of those that are made again."""

    path: Path
    outfile: Path
    record: Record
    options: Options
    new: dict[str, Any]
    seconds: tuple[float, float]
    index: PacketIndex
    frames: range

    @classmethod
    def of(cls, path: Path, outfile: Path, seconds: str, given: Mapping[str, Any]) -> "Redo":
        """seconds: as in 12.0-15.5; given: settings that are changed. Raises InputError where that is impossible."""
        record = read_record(path)
        fixed = sorted(given.keys() - CHANGEABLE)
        if fixed:
            raise InputError(f"--redo: --{fixed[0]} holds for a whole dub; leave it out, or dub anew")
        try:
            before = changed(Options(), {"checkpoint_path": record.generator["file"]} | record.settings)
        except InputError as error:
            raise InputError(f"{record_path(path)}: {error}; dub anew") from error
        for source, flag in ((record.face, "--face"), (record.audio, "--audio")):
            if not Path(source).is_file():
                raise InputError(f"--redo: {source}: was the dub's {flag} and is not there; bring it back, or dub anew")
        index = PacketIndex.of(path)
        if outfile.suffix.lower() != path.suffix.lower():
            raise InputError(f"--outfile {outfile}: has to end in {path.suffix}, as the dub does")
        first, last = parse_seconds(seconds)
        times = index.times
        numbers = np.flatnonzero((times >= first - TOLERANCE) & (times < last - TOLERANCE))
        if not len(numbers):
            raise InputError(f"--redo {seconds}: {path} shows frames from 0 to {times[-1]:.2f} s only")
        options = replace(before, **given)
        new = options.as_json(given)
        return cls(
            path, outfile, record, options, new, (first, last), index, range(int(numbers[0]), int(numbers[-1]) + 1)
        )

    @property
    def encoded_seconds(self) -> tuple[float, float]:
        """Up to where frames are encoded again, with those that are not made again."""
        encoded, times = self.index.encoded_again(self.frames), self.index.times
        end = times[encoded.stop] if encoded.stop < len(times) else times[-1] + 1 / self.record.fps
        return round(float(times[encoded.start]), 3), round(float(end), 3)

    def merged(self, redone: Record) -> Record:
        """The record of the whole dub after its frames were made as `redone` says."""
        log, times, step = StateLog(), self.index.times, 1 / self.record.fps
        before, after = _states_at(times, self.record.ranges), _states_at(times, redone.ranges)
        for number, time in enumerate(times.tolist()):
            log.add((after if number in self.frames else before)[number], time, step)
        entry = {
            "seconds": list(self.seconds),
            "encoded_seconds": list(self.encoded_seconds),
            "frames": redone.frames,
            "generator": redone.generator,
            "refiner": redone.refiner,
            "changed": self.new,
            "sync": redone.sync,
        }
        new: dict[str, Any] = {
            "outfile": redone.outfile,
            "ranges": log.ranges(),
            "redone": [*self.record.redone, entry],
        }
        return replace(self.record, **new, **log.counts)  # type: ignore[arg-type]


def read_record(path: Path) -> Record:
    """Of the dub at this path."""
    beside = record_path(path)
    for file, what in ((path, "no such dub"), (beside, "is not there, which says how the dub was made")):
        if not file.is_file():
            raise InputError(f"--redo: {file}: {what}; give the dub as --outfile")
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        record = Record(**{field.name: content[field.name] for field in fields(Record)})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"--redo: {beside}: is no record of a dub that can be redone; dub anew") from error
    if record.video_sha256 != digest(path):
        raise InputError(f"{path}: is not the video that {beside.name} tells of; dub anew")
    return record


def parse_seconds(text: str) -> tuple[float, float]:
    try:
        first, last = (float(part) for part in text.split("-"))
    except ValueError as error:
        raise InputError(f"--redo {text}: give two times in seconds, as in 12.0-15.5") from error
    if not 0 <= first < last:
        raise InputError(f"--redo {text}: the second time has to be the later one")
    return first, last


def _states_at(times: np.ndarray, ranges: dict[str, list[list[float]]]) -> list[str]:
    """The state of the frame at each of these times, by the ranges of a record."""
    begins = sorted((start, state) for state in STATES for start, _ in ranges[state])
    numbers = np.searchsorted([start for start, _ in begins], times + TOLERANCE, side="right") - 1
    return [begins[max(0, number)][1] for number in numbers]
