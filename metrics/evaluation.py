"""Scores of several videos, and of a generator, as evaluate.py writes them."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.loading import open_clips
from face_detection import build_detector
from media.files import videos_among
from metrics import generator_score
from metrics.experts import Expert
from metrics.options import EvaluationOptions
from metrics.scorers import load_scorer
from metrics.sync_offset import MAX_SHIFT
from metrics.video_score import score_video
from models import Wav2Lip
from models.checkpoint import load_network
from models.published import BUNDLED_EXPERT, default_scorers
from utils.devices import Precision, channels_last, pick_device
from utils.errors import InputError, format_error
from utils.files import read_table


class Pair(NamedTuple):
    """A video, the sound it is compared with (None: its own), and what it should look like, if that is known."""

    video: Path
    audio: Path | None
    reference: Path | None


def evaluate_videos(options: EvaluationOptions) -> tuple[list[dict], int]:
    """The scores of every video, and how many could not be scored; a single one that cannot raises InputError."""
    device = pick_device(options.device)
    pairs = find_pairs(options)
    scorers = [load_scorer(path, device) for path in options.syncnet_checkpoint_path or default_scorers()]
    detector = build_detector(options.face_detector, str(device))
    print(f"faces by {detector.name}", flush=True)
    results, failed = [], 0
    for video, sound, reference in pairs:
        try:
            batch_size = options.face_det_batch_size
            results.append(
                score_video(video, sound or video, reference, scorers, detector, batch_size, options.audio_stream)
            )
        except Exception as error:  # whatever it is, the next one may be scored
            if len(pairs) == 1:
                raise
            failed += 1
            print(f"not scored: {format_error(error)}", file=sys.stderr)
    if not results:
        raise InputError("none of the videos could be scored")
    return results, failed


def find_pairs(options: EvaluationOptions) -> list[Pair]:
    """The videos that the options name."""
    if options.list:
        return read_list(options.list)
    assert options.video is not None
    if not options.video.is_dir():
        return [Pair(options.video, options.audio, options.reference)]
    if options.audio or options.reference:
        raise InputError(
            f"--video {options.video}: is a folder; give sounds and references of several videos by --list"
        )
    videos = videos_among(options.video.iterdir())
    if not videos:
        raise InputError(f"--video {options.video}: holds no videos")
    return [Pair(path, None, None) for path in videos]


def read_list(path: Path) -> list[Pair]:
    """Rows of a list; names in it are relative to its folder."""

    def named(row: dict, column: str) -> Path | None:
        return path.parent / str(row[column]) if row.get(column) else None

    pairs = []
    for number, row in enumerate(read_table(path, "--list", ("video",)), 1):
        video = named(row, "video")
        if video is None:
            raise InputError(f"--list {path}: row {number} lacks a video")
        pairs.append(Pair(video, named(row, "audio"), named(row, "reference")))
    return pairs


def means(results: list[dict]) -> list[dict]:
    """Over all videos, for every scorer; within_1: the share of the measurable ones whose offset is -1 to 1."""
    found = []
    for each in zip(*(result["sync"] for result in results), strict=True):
        values = {name: float(np.mean([sync[name] for sync in each])) for name in ("lse_d", "lse_c")}
        measured = [sync["offset"] for sync in each if sync["measurable"]]
        near = float(np.mean(np.abs(measured) <= 1)) if measured else None
        counts = {"videos": len(each), "measurable": len(measured), "within_1": near}
        found.append({"scorer": each[0]["scorer"]} | values | counts)
    return found


def evaluate_generator(options: EvaluationOptions) -> dict:
    """Likeness and sync of a generator on the clips kept aside, with real footage and a still frame beside it."""
    assert options.generator is not None and options.data_root is not None
    precision = Precision("auto", pick_device(options.device))
    generator, hp = load_network(options.generator, Wav2Lip, options.hparams)
    channels_last(generator, precision.device)
    clips = open_clips(options.data_root, "eval", options.filelists_dir, hp)
    clips = [clip for clip in clips if len(clip.window_rows(hp, per_frame_mels=False)) > 2 * MAX_SHIFT]
    if not clips:
        raise InputError(
            f"{options.filelists_dir / 'eval.txt'}: has no clip with two seconds of sound; add longer ones"
        )

    dubber = generator_score.ClipDubber(generator, hp, precision)
    redrawn = [dubber.redraw(clip) for clip in clips]
    copied = [generator_score.ClipDub(generator_score.other_frames(clip), clip, clip) for clip in clips]
    result = {
        "generator": str(options.generator),
        "clips": len(clips),
        "likeness": {
            "generated to its own speech": generator_score.mean_likeness(redrawn),
            "another frame of the clip instead": generator_score.mean_likeness(copied),
        },
        "l1_to_copying": generator_score.l1_to_copying(redrawn),
    }
    dubs = generator_score.compared_dubs(dubber, clips)
    experts = []
    for path in options.syncnet_checkpoint_path or [BUNDLED_EXPERT]:
        expert = Expert.load(path, precision)
        sync = {case: generator_score.sync_summary(expert, some) for case, some in dubs.items()}
        accuracy = generator_score.sync_accuracy(expert, clips)
        experts.append({"expert": str(path), "sync_accuracy": accuracy, "sync": sync})
    return result | {"experts": experts}
