"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # dub two bundled clips with other speech
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights installed
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/
    python inference.py --check --face talk.mp4 --audio speech.wav                    # find problems before a dub
    python inference.py --still --face talk.mp4 --audio speech.wav --outfile one.png  # try settings on one frame
    python inference.py --face talk.mp4 --voice 0=anna.wav --voice 1=ben.wav          # two people, from the left
    python inference.py --jobs jobs.csv --outfile results/    # columns face, audio, and any flag's name
    torchrun --nproc_per_node 2 inference.py --jobs jobs.csv --outfile results/       # shared by two processes

Writes the video and, beside it, <outfile>.json, which says what was done. Memory does not grow with the length of the
video. Frames without a face stay unchanged. Exit code 1: some of several jobs failed.
"""

import argparse
import json
import os
import sys
import traceback
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import dubbing
from dubbing.options import OUTFILE, Options, Request
from dubbing.voices import Audio, read_voices
from models.published import ensure_weights
from utils import cli
from utils.errors import InputError, format_error
from utils.files import existing_file
from utils.settings import from_args


def main(args: argparse.Namespace) -> int:
    request, options = from_args(Request, args), from_args(Options, args)
    if (request, options) == (Request(), Options()):
        print(f"{__doc__}\nAll flags: python inference.py --help", file=sys.stderr)
        return 2
    options = ensure_weights(options, args.yes)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch: idle threads that spin hold up the encoder
    if not request.jobs and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes share a list of dubs: give --jobs, or leave out torchrun")
    results = args.stdout if request.json else sys.stdout
    if request.demo:
        return demonstrate(request, options, results)
    if request.jobs:
        return dub_list(request.jobs, request, options, results, args.debug)
    if not request.face or not (request.audio or request.voice or request.check):
        raise InputError("--face and --audio are needed (or --voice; for --check --face alone), or --jobs, or --demo")
    face = existing_file(request.face, "--face")
    audio: Audio = existing_file(request.audio, "--audio") if request.audio else read_voices(request.voice or ())
    from dubbing.jobs import output_path

    still = request.still or options.preview == 0
    to = request.outfile or OUTFILE
    outfile = output_path(face, audio or face, to, options, still)  # checked before weights are read
    if request.check:
        return check_footage(face, audio, outfile, request, options, args.stdout)
    if still:
        return draw_still(face, audio, outfile, request, options, args.stdout)
    report(dubbing.Dubber(options).dub(face, audio, outfile), request, results)
    if request.outfile is None:
        print(f"the next dub replaces {outfile}; --outfile gives another name", flush=True)
    return 0


def check_footage(face: Path, audio: Audio, outfile: Path, request: Request, options: Options, stdout: TextIO) -> int:
    """Print problems of a video and speech, and what to expect of a dub; 2 where no dub is possible."""
    from dubbing.check import check
    from utils.progress import doing

    with doing("checking the footage"):
        found = check(face, audio, outfile, options)
    print(json.dumps(asdict(found), ensure_ascii=False) if request.json else found.text(), file=stdout, flush=True)
    return 2 if found.problems else 0


def draw_still(face: Path, audio: Audio, picture: Path, request: Request, options: Options, stdout: TextIO) -> int:
    """One frame of the dub, beside its source."""
    from dubbing.samples import OWN_INSTEAD, still
    from utils.progress import doing

    with doing("drawing a frame"):
        time, own = still(face, audio, picture, options)
    print(f"{picture}: source and result at {time:.2f} s{f'; {OWN_INSTEAD}' if own else ''}", flush=True)
    if request.json:
        shown = {"face": str(face), "audio": str(request.audio), "outfile": str(picture), "time": round(time, 3)}
        print(json.dumps(shown, ensure_ascii=False), file=stdout, flush=True)
    return 0


def dub_list(path: Path, request: Request, options: Options, results: TextIO, debug: bool) -> int:
    """The dubs of a list: each fails alone; networks are loaded again only where a job asks for others. Processes that
    torchrun started share them; the first one's exit code counts."""
    from dubbing.jobs import read_jobs
    from utils import distributed
    from utils.progress import Progress

    stdout = sys.stdout  # each process prints its own jobs, though init_processes silences all but the first
    device = distributed.init_processes(options.device)
    jobs = distributed.from_main(lambda: read_jobs(path, options, request.outfile or OUTFILE.parent))
    share = range(distributed.rank(), len(jobs), distributed.world_size())
    networks, failed = None, 0
    for number in sorted(share, key=lambda number: not isinstance(jobs[number], Exception)):  # wrong rows first
        job = jobs[number]
        try:
            if isinstance(job, Exception):
                raise job
            print(f"job {number + 1} of {len(jobs)}: {job.face}", file=stdout, flush=True)
            here = device if job.options.device == options.device else job.options.device
            dubber = dubbing.Dubber(replace(job.options, device=here), networks)
            networks = dubber.networks
            bar = partial(Progress, disable=not distributed.is_main())
            report(dubber.dub(job.face, job.audio, job.outfile, bar), request, results)
        except Exception as error:  # of any kind: the next job may succeed
            failed += 1
            print(f"error: job {number + 1}: {format_error(error)}", file=sys.stderr, flush=True)
            if debug:
                traceback.print_exception(error)
    failed = distributed.total(failed)
    distributed.destroy_processes()
    if failed and distributed.is_main():
        return 1 if failed < len(jobs) else 2
    return 0


def demonstrate(request: Request, options: Options, results: TextIO) -> int:
    """Dub the bundled clips and make a page that shows them."""
    from demo import showcase
    from utils.progress import doing

    dubber = dubbing.Dubber(options)
    records = []
    for person in showcase.PEOPLE:
        records.append(dubber.dub(person.face, person.speech, person.dubbed))
        report(records[-1], request, results)
    with doing("scoring the dubs"):
        page = showcase.present(options.device, records)
    print(f"open {page} in a browser")
    return 0


def report(record: "dubbing.Record", request: Request, results: TextIO) -> None:
    """Print what was done, with --json as JSON."""
    if request.json:
        print(json.dumps(asdict(record), ensure_ascii=False), file=results, flush=True)
        return
    from dubbing.record import remarks
    from metrics.glossary import format_sync

    unchanged = f", {record.unchanged} left unchanged" if record.unchanged else ""
    lines = [f"{record.outfile}: {record.frames} frames{unchanged}"]
    several = len(record.people) > 1
    for person in record.people:
        who = f"person {person['person']}, {person['frames']} frames: " if several else ""
        lines += [f"{who}{format_sync(person['sync'])}"] if person["sync"] else [who] * several
    lines += [f"found: {', '.join(record.findings)}"] if record.findings else []
    lines += [f"remark: {remark}" for remark in remarks(record)]
    print("\n".join(lines), file=results, flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, Request, Options).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
