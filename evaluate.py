"""How good a dub is: sync offset, LSE-D and LSE-C, and the mouth's likeness to a reference video.

    python evaluate.py --video dubbed.mp4
    python evaluate.py --video dubbed.mp4 --audio speech.wav --reference original.mp4
    python evaluate.py --video results/                       # every video in a folder
    python evaluate.py --list pairs.csv                       # columns video, audio, reference; these may be empty

Windows of five frames are compared with the sound at every shift of up to 15 frames, over the whole video and for every
second of it. LSE-D is the distance at the shift where they lie closest (less is better), LSE-C how much farther they
lie at the median shift (more is better), the offset that shift in frames: above zero where the sound is late, below
where it is early (the published tool prints the opposite sign). The scorers are those given, or those there are:
checkpoints/syncnet_v2.model, which papers' numbers come from, checkpoints/lipsync_expert.pth, the bundled expert.
Numbers of different scorers cannot be compared. Of a reference, the lower half faces of the same frames count: L1
(0 to 1), PSNR in dB, SSIM.

Prints a table, writes it with the seconds as JSON (--outfile), and a page of plots of distance over shift beside it.
Exit code 1 where some of several videos could not be scored.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cli
import page
import scorers
import sync_offset
import video_score
import weights
from cli import InputError
from devices import pick_device
from face_detection import build_detector

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"}


class Pair(NamedTuple):
    video: Path
    audio: Path | None
    reference: Path | None


def pairs_of(args: argparse.Namespace) -> list[Pair]:
    if args.list:
        return read_list(args.list)
    if not args.video.is_dir():
        return [Pair(args.video, args.audio, args.reference)]
    if args.audio or args.reference:
        raise InputError(f"--video {args.video}: is a folder; give sounds and references of several videos by --list")
    videos = sorted(path for path in args.video.iterdir() if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise InputError(f"--video {args.video}: holds no videos ({', '.join(sorted(SUFFIXES))})")
    return [Pair(path, None, None) for path in videos]


def read_list(path: Path) -> list[Pair]:
    """Rows of a CSV file with a head; names in it are relative to its folder."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--list {path}: is no CSV file in UTF-8") from error
    if not rows or not rows[0].get("video"):
        raise InputError(f"--list {path}: needs a first line `video,audio,reference` and a video in every other")
    names = ("video", "audio", "reference")
    return [Pair(*(path.parent / row[name] if row.get(name) else None for name in names)) for row in rows]


def table(results: list[dict]) -> list[tuple]:
    """Rows for people, the first the head: one for every video and scorer, and the mean where there are several."""
    rows = [("video", "scorer", "offset", "LSE-D", "LSE-C", "mouth L1", "PSNR", "SSIM")]
    for result in results:
        like = result.get("reference")
        likeness = (f"{like['l1']:.4f}", f"{like['psnr']:.1f} dB", f"{like['ssim']:.3f}") if like else ("", "", "")
        for sync in result["sync"]:
            numbers = (f"{sync['offset']:+d}", f"{sync['lse_d']:.3f}", f"{sync['lse_c']:.3f}")
            rows.append((Path(result["video"]).name, sync["scorer"], *numbers, *likeness))
    for mean in means(results) if len(results) > 1 else ():
        name = f"mean of {len(results)}, {mean['within_1']:.0%} within one frame"
        rows.append((name, mean["scorer"], "", f"{mean['lse_d']:.3f}", f"{mean['lse_c']:.3f}", "", "", ""))
    return rows


def means(results: list[dict]) -> list[dict]:
    """Over all videos, for every scorer."""
    found = []
    for each in zip(*(result["sync"] for result in results), strict=True):
        values = {name: float(np.mean([sync[name] for sync in each])) for name in ("lse_d", "lse_c")}
        near = float(np.mean([abs(sync["offset"]) <= 1 for sync in each]))
        found.append({"scorer": each[0]["scorer"]} | values | {"within_1": near})
    return found


def as_text(rows: list[tuple]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    widths = [width if any(row[i] for row in rows[1:]) else 0 for i, width in enumerate(widths)]  # no empty columns
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def as_page(rows: list[tuple], results: list[dict]) -> str:
    parts = [page.table(rows)]
    shifts = range(-sync_offset.MAX_SHIFT, sync_offset.MAX_SHIFT + 1)
    for result in results:
        parts.append(page.heading(Path(result["video"]).name))
        for sync in result["sync"]:
            curve = list(zip(shifts, sync["curve"], strict=True))
            parts.append(page.curves(f"{sync['scorer']}: distance over shift in frames", {"": curve}))
            seconds = [(second["second"], second["lse_c"]) for second in sync["seconds"]]
            if len(seconds) > 1:
                parts.append(page.curves(f"{sync['scorer']}: confidence by second", {"": seconds}))
    return page.page("How well lips and sound fit", parts)


def main(args: argparse.Namespace) -> int:
    device = pick_device(args.device)
    pairs = pairs_of(args)
    paths = args.syncnet_checkpoint_path or weights.scorers_there()
    judges = [scorers.load(path, device) for path in paths]
    cli.writable_folder(args.outfile.parent, "--outfile")
    detector = build_detector(args.face_detector, str(device))
    print(f"faces by {detector.name}", flush=True)

    results, failed = [], 0
    for video, sound, reference in pairs:
        try:
            results.append(
                video_score.evaluate(video, sound or video, reference, judges, detector, args.face_det_batch_size)
            )
        except InputError as error:
            if len(pairs) == 1:
                raise
            failed += 1
            print(f"not scored: {error}", file=sys.stderr)
    if not results:
        raise InputError("none of the videos could be scored")

    rows = table(results)
    cli.write_text(args.outfile, json.dumps({"videos": results, "mean": means(results)}, indent=1, ensure_ascii=False))
    shown = args.outfile.with_suffix(".html")
    cli.write_text(shown, as_page(rows, results))
    print(as_text(rows))
    print(f"{args.outfile}, plots in {shown}")
    return 1 if failed else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--video", type=Path, help="a video, or a folder of videos")
    what.add_argument("--list", type=Path, metavar="CSV", help="videos with their sounds and references")
    add("--audio", type=Path, help="sound to compare with, from its start on (default: the video's own)")
    add("--reference", type=Path, help="what the video should look like: the original")
    add("--syncnet_checkpoint_path", type=Path, nargs="+", metavar="WEIGHTS", help="scorers (default: all there are)")
    add("--outfile", type=Path, default=Path("results/scores.json"), help="default: results/scores.json")
    add("--face_detector", choices=("auto", "sfd", "retinaface"), default="auto")
    add("--face_det_batch_size", type=int, default=16, help="frames detected at once")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    add("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.list and (args.audio or args.reference):
        parser.error("--list: names the sounds and references itself")
    if args.outfile.suffix != ".json":
        parser.error("--outfile: give a name that ends in .json")
    return args


if __name__ == "__main__":
    cli.run(main, parse_args())
