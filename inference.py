"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # two bundled clips with other speech, to look at
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights that are there
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/
    python inference.py --check --face talk.mp4 --audio speech.wav                    # what is wrong, before a dub
    python inference.py --still --face talk.mp4 --audio speech.wav --outfile one.png  # one frame, to try settings on
    python inference.py --jobs jobs.csv --outfile results/    # columns face, audio, and any flag's name
    torchrun --nproc_per_node 2 inference.py --jobs jobs.csv --outfile results/       # shared among processes

Writes the video and, beside it, <outfile>.json: what was done. However long the video is, it takes the same memory.
Frames without a face stay unchanged. Exit code 1: some of several jobs failed.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import dubbing
from dubbing.options import OUTFILE, Options, Request
from models.missing import with_weights
from utils import cli
from utils.errors import InputError
from utils.files import existing_file
from utils.options import from_args
from utils.progress import Progress, doing

USUAL = """\
Dub a video, or a picture (--preview --report: five seconds of it, with pictures of what changes):
    python inference.py --face talk.mp4 --audio speech.wav --outfile out.mp4
See what is wrong with the footage, and how long a dub will take:
    python inference.py --face talk.mp4 --audio speech.wav --check
Dub two people who come with the project:
    python inference.py --demo
All flags: python inference.py --help"""

Tell = Callable[["dubbing.Record"], None]  # what to do with the record of a dub


def main(args: argparse.Namespace) -> int:
    request, options = from_args(Request, args), from_args(Options, args)
    if (request, options) == (Request(), Options()):
        print(USUAL, file=sys.stderr)
        return 2
    options = with_weights(options, args.yes)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch: idle threads that spin hold up the encoder
    if not request.jobs and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes share a list of dubs: give --jobs, or leave out torchrun")
    tell = partial(print_json, file=args.stdout) if request.json else partial(say, file=sys.stdout)
    if request.demo:
        demonstrate(options, tell)
        return 0
    if request.jobs:
        return dub_list(request.jobs, options, request.outfile or OUTFILE.parent, tell, args.debug)
    if request.check:
        return check_footage(request, options, args.stdout)
    if not (request.face and request.audio):
        raise InputError("--face and --audio are needed, or --jobs, or --demo")
    face, audio = existing_file(request.face, "--face"), existing_file(request.audio, "--audio")
    if request.still or options.preview == 0:
        draw_still(face, audio, request, options, args.stdout)
        return 0
    from dubbing.jobs import output_path

    outfile = output_path(face, audio, request.outfile or OUTFILE, options)  # checked before any weights are read
    tell(dubbing.Dubber(options).dub(face, audio, outfile))
    if request.outfile is None:
        print(f"the next dub replaces {outfile}; --outfile gives another name", flush=True)
    return 0


def check_footage(request: Request, options: Options, stdout: TextIO) -> int:
    """Say what is wrong with a video and speech, and what a dub of them will be like; 2 where none would be made."""
    if not request.face:
        raise InputError("--check: needs --face, and --audio to draw mouths and to tell how long a dub takes")
    face = existing_file(request.face, "--face")
    audio = existing_file(request.audio, "--audio") if request.audio else None
    from dubbing.check import check
    from dubbing.jobs import output_path

    outfile = output_path(face, audio or face, request.outfile or OUTFILE, options)
    with doing("looking at the footage"):
        report = check(face, audio, outfile, options)
    print(json.dumps(asdict(report), ensure_ascii=False) if request.json else report.text(), file=stdout, flush=True)
    return 0 if report.usable else 2


def draw_still(face: Path, audio: Path, request: Request, options: Options, stdout: TextIO) -> None:
    """One frame of the dub, beside its source."""
    from dubbing.jobs import picture_path
    from dubbing.still import still

    picture = picture_path(face, audio, request.outfile or OUTFILE, options)
    with doing("drawing a frame"):
        drawn = still(face, audio, picture, options)
    print(f"{picture}: source and result at {drawn.time:.2f} s", flush=True)
    if request.json:
        shown = {"face": str(face), "audio": str(audio), "outfile": str(picture), "time": round(drawn.time, 3)}
        print(json.dumps(shown, ensure_ascii=False), file=stdout, flush=True)


def dub_list(path: Path, options: Options, folder: Path, tell: Tell, debug: bool) -> int:
    """The dubs of a list: each fails alone; networks are loaded anew only where a job asks for others. Processes that
    torchrun started share them; the exit code is the first one's."""
    from dubbing.jobs import read_jobs
    from utils import distributed

    stdout = sys.stdout  # each process tells of its own jobs, though all but the first fall silent
    device = distributed.init_processes(options.device)
    jobs = distributed.from_main(lambda: read_jobs(path, options, folder))
    share = range(distributed.rank(), len(jobs), distributed.world_size())
    networks, failed = None, 0
    for number in sorted(share, key=lambda number: not isinstance(jobs[number], Exception)):  # these at once
        job = jobs[number]
        try:
            if isinstance(job, Exception):
                raise job
            print(f"job {number + 1} of {len(jobs)}: {job.face}", file=stdout, flush=True)
            here = device if job.options.device == options.device else job.options.device
            dubber = dubbing.Dubber(replace(job.options, device=here), networks)
            networks = dubber.networks
            bar = partial(Progress, disable=not distributed.is_main())
            tell(dubber.dub(job.face, job.audio, job.outfile, bar))
        except Exception as error:  # whatever it is, the next one may do well
            failed += 1
            print(f"error: job {number + 1}: {cli.said(error)}", file=sys.stderr, flush=True)
            if debug:
                traceback.print_exception(error)
    failed = distributed.total(failed)
    distributed.destroy_processes()
    if failed and distributed.is_main():
        return 1 if failed < len(jobs) else 2
    return 0


def demonstrate(options: Options, tell: Tell) -> None:
    from demo import showcase  # the scorers, which no other dub waits for

    dubber = dubbing.Dubber(options)
    records = []
    for person in showcase.PEOPLE:
        records.append(dubber.dub(person.face, person.speech, person.dubbed))
        tell(records[-1])
    with doing("scoring the dubs"):
        page = showcase.present(options.device, records)
    print(f"open {page} in a browser")


def say(record: "dubbing.Record", file: TextIO) -> None:
    """What a dub has come to; file: where results are printed, also by a process that is silent otherwise."""
    from metrics.terms import sync_in_words

    unchanged = f", {record.unchanged} left unchanged" if record.unchanged else ""
    lines = [f"{record.outfile}: {record.frames} frames{unchanged}"]
    lines += [sync_in_words(record.sync)] if record.sync else []
    lines += [f"found: {', '.join(record.findings)}"] if record.findings else []
    print("\n".join(lines), file=file, flush=True)


def print_json(record: "dubbing.Record", file: TextIO) -> None:
    print(json.dumps(asdict(record), ensure_ascii=False), file=file, flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, Request, Options).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
