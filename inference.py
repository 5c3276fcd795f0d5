# PYTHON_ARGCOMPLETE_OK
"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # two bundled clips with other speech, to look at
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights that are there
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/
    python inference.py --jobs jobs.csv --outfile results/    # columns face, audio, and any flag's name

Writes the video and, beside it, <outfile>.json: what was done. However long the video is, it takes the same memory.
Frames without a face stay unchanged. Exit code 1: some of several jobs failed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import dubbing
from dubbing.options import Options, Request
from models.missing import with_weights
from utils import cli
from utils.errors import InputError
from utils.files import existing_file
from utils.options import from_args

USUAL = """\
Dub a video, or a picture:
    python inference.py --face talk.mp4 --audio speech.wav --outfile out.mp4
Try settings on five seconds, with pictures of what changes:
    python inference.py --face talk.mp4 --audio speech.wav --outfile out.mp4 --preview --report
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
    tell: Tell = say
    if request.json:
        tell = lambda record: print(json.dumps(asdict(record), ensure_ascii=False), file=args.stdout, flush=True)  # noqa: E731
    if request.demo:
        demonstrate(options, tell)
        return 0
    if request.jobs:
        return dub_list(request.jobs, options, request.outfile, tell)
    if not (request.face and request.audio):
        raise InputError("--face and --audio are needed, or --jobs, or --demo")
    face, audio = existing_file(request.face, "--face"), existing_file(request.audio, "--audio")
    from dubbing.jobs import output_path

    outfile = output_path(face, audio, request.outfile, options)  # checked before any weights are read
    tell(dubbing.Dubber(options).dub(face, audio, outfile))
    return 0


def dub_list(path: Path, options: Options, outfile: Path, tell: Tell) -> int:
    """The dubs of a list: each fails alone; networks are loaded anew only where a job asks for others."""
    from dubbing.jobs import read_jobs

    jobs, failed = read_jobs(path, options, outfile), 0
    networks = None
    for number, job in enumerate(jobs, 1):
        print(f"job {number} of {len(jobs)}: {job.face}", file=sys.stderr, flush=True)
        try:
            dubber = dubbing.Dubber(job.options, networks)
            networks = dubber.networks
            tell(dubber.dub(job.face, job.audio, job.outfile))
        except (InputError, OSError) as error:
            failed += 1
            print(f"error: job {number}: {error}", file=sys.stderr)
    if failed:
        return 1 if failed < len(jobs) else 2
    return 0


def demonstrate(options: Options, tell: Tell) -> None:
    from demo import showcase  # the scorers, which no other dub waits for

    dubber = dubbing.Dubber(options)
    for person in showcase.PEOPLE:
        tell(dubber.dub(person.face, person.speech, person.dubbed))
    print(f"open {showcase.present(options.device)} in a browser")


def say(record: "dubbing.Record") -> None:
    from metrics.terms import sync_in_words

    unchanged = f", {record.unchanged} left unchanged" if record.unchanged else ""
    print(f"{record.outfile}: {record.frames} frames{unchanged}")
    if record.sync:
        print(sync_in_words(record.sync))
    if record.findings:
        print(f"found: {', '.join(record.findings)}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, Request, Options).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
