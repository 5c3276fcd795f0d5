"""Preprocessed footage as what comes after needs to know it: how much there is, and which videos are kept aside."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from data.clip import read_record
from data.filelists import listed_clips
from preprocessing.options import PreprocessingOptions
from preprocessing.plan import clip_names, find_videos
from preprocessing.verdicts import amount
from utils.files import read_json


class Footage(NamedTuple):
    """enough: whether there is enough to learn a person from; amount: the same in words; digest: of what the listed
    clips are made from; face, speech: two videos, of which the first is kept aside, and the second where two are."""

    enough: bool
    amount: str
    digest: str
    face: Path
    speech: Path


def look_at(options: PreprocessingOptions) -> Footage:
    """What preprocessing with these options has left."""
    root, videos = options.preprocessed_root, find_videos(options.data_root or Path())
    by_clip = dict(zip(clip_names(videos, options.data_root or Path()), videos, strict=True))
    report = read_json(root / "report.json", "run preprocess.py --report_only")
    trained, kept = (listed_clips(options.filelists_dir, split, root) for split in ("train", "eval"))
    origins = [(folder.name, read_record(folder).get("origin")) for folder in (*trained, *kept)]
    digest = hashlib.sha256(json.dumps(origins).encode()).hexdigest()
    there = [by_clip[clip] for folder in (*kept, *trained) if (clip := folder.relative_to(root).as_posix()) in by_clip]
    return Footage(*amount(report["total"]["usable_minutes"]), digest, there[0], there[min(1, len(there) - 1)])
