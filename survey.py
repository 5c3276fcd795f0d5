"""What preprocessed clips are like: looked at as they lie on disk, whichever preprocessing wrote them.

clip.json of every clip is brought up to date; training reads the sound's offset from it.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import soundfile
import torch
from tqdm import tqdm

import audio
import checkpoint
import distributed
import footage
import report
import splits
import sync_offset
from cli import InputError, write_text
from clip_cache import Clip, record_in
from devices import Precision
from hparams import HParams
from models import SyncNet_color
from verdicts import judge_all
from video import read_image

EXPERT = Path("checkpoints/lipsync_expert.pth")
FEWEST_WINDOWS = 20  # compared at every shift; fewer give wrong offsets now and then
WINDOWS = 300  # of a clip, evenly spaced, that the expert looks at
PICTURES = 8  # of a clip, whose sharpness is measured


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filelists_dir", type=Path, default=Path("filelists"), help="where the lists go")
    parser.add_argument("--syncnet_checkpoint_path", type=Path, help=f"lip-sync expert (default: {EXPERT})")


def load_expert(path: Path | None, device: torch.device) -> torch.nn.Module | None:
    """The expert at `path`, or the one in its usual place, or None."""
    path = path or (EXPERT if EXPERT.exists() else None)
    if path is None:
        print(f"no lip-sync expert ({EXPERT} or --syncnet_checkpoint_path): sound offsets are not measured", flush=True)
        return None
    expert, _ = checkpoint.load_network(path, SyncNet_color)
    return expert.to(device, memory_format=torch.channels_last)


def clip_folders(root: Path) -> list[Path]:
    """All folders below root that hold a clip."""
    if not root.is_dir():
        raise InputError(f"--data_root {root}: no such folder; give the --preprocessed_root of preprocess.py")
    folders = sorted(path.parent for path in root.rglob("audio.wav") if (path.parent / "0.jpg").exists()
                     or next(path.parent.glob("*.jpg"), None))  # fmt: skip
    if not folders:
        raise InputError(f"--data_root {root}: no clips there (folders of 0.jpg, ... and audio.wav)")
    return folders


def record_of(folder: Path, root: Path, hp: HParams) -> dict:
    """clip.json, or what can be told without it."""
    record = record_in(folder)
    if record:
        return record
    frames = Clip(folder, hp).frames
    return {
        "clip": folder.relative_to(root).as_posix(), "problem": None, "frames": int(frames[-1]) + 1,
        "seconds": round((int(frames[-1]) + 1) / hp.fps, 3), "faces": len(frames),
        "face_height": len(read_image(folder / f"{frames[len(frames) // 2]}.jpg")),
    }  # fmt: skip


def report_on(records: list[dict], root: Path, filelists_dir: Path, expert, hp: HParams, device: torch.device) -> int:
    """Measure and judge the clips of all processes; in the main process bring clip.json, report and lists up to date
    and say so. Returns the exit code: 0 where all clips can be used.

    records: this process's share.
    """
    looked_at = list(_look_at_all(records, root, expert, hp, Precision("auto", device)))
    everything = sorted(distributed.joined(looked_at), key=lambda record: record["clip"])
    if not distributed.is_main():
        return 0
    judged, said = judge_all(everything, hp)
    for record in judged:
        if "frames" in record:
            _write_record(root / record["clip"] / "clip.json", record)
    report.write(root, judged, said)
    print(report.table(judged))
    for line in said:
        print(line)
    print(f"{root / 'report.html'}: look at it before training")
    usable, left_out = ([record["clip"] for record in judged if record["usable"] is good] for good in (True, False))
    if not usable:
        raise InputError(f"{root}: none of its {len(judged)} videos can be used; see the table")
    for sentence in splits.update_lists(filelists_dir, root, usable, left_out):
        print(sentence)
    return 0 if not left_out else 1


def _write_record(path: Path, record: dict) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _look_at_all(records: list[dict], root: Path, expert, hp: HParams, precision: Precision) -> Iterator[dict]:
    for record in tqdm(records, desc="survey", unit="clip", disable=not distributed.is_main()):
        yield _look_at(record, root / record["clip"], expert, hp, precision) if "frames" in record else record


def _look_at(record: dict, folder: Path, expert, hp: HParams, precision: Precision) -> dict:
    clip = Clip(folder, hp)
    powers = audio.frame_powers(soundfile.blocks(folder / "audio.wav", blocksize=65536, dtype="float32"), hp)
    seen = {
        "sharpness": round(footage.sharpness(clip.faces[:: max(1, len(clip.faces) // PICTURES)]), 1),
        "loudness_dbfs": round(audio.loudness_dbfs(powers), 1),
        "speech_share": round(audio.speech_share(powers), 3),
    }
    return {**record, **seen, **(_offset(clip, expert, hp, precision) if expert else {})}


def _offset(clip: Clip, expert, hp: HParams, precision: Precision) -> dict:
    """offset, confidence and evidence, None where the clip is too short to tell."""
    rows = clip.rows_in_a_row(hp.window_frames)
    rows = rows[:: -(-len(rows) // WINDOWS) or 1]
    distances = sync_offset.shift_distances(expert, clip.faces, rows, clip.frames[rows], clip.mel, hp, precision)
    score = sync_offset.score(distances, FEWEST_WINDOWS)
    if score is None:
        return {"offset": None, "confidence": None, "evidence": None}
    return {
        "offset": score.offset, "confidence": round(score.confidence, 4), "evidence": round(score.evidence, 2)
    }  # fmt: skip
