"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # two bundled clips with other speech, to look at
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights that are there
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/
    python inference.py --jobs jobs.csv --outfile results/    # columns face, audio, and any flag's name
    torchrun --nproc_per_node 2 inference.py --jobs jobs.csv --outfile results/       # shared among processes
    python inference.py --outfile talk.mp4 --redo 12.0-15.5 --pads 0 20 0 0           # these seconds of a dub, again

Writes the video and, beside it, <outfile>.json: what was done. However long the video is, it takes the same memory.
Frames without a face stay unchanged. Exit code 1: some of several jobs failed.
"""

import argparse
import os
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import dubbing
from dubbing.options import Options
from utils import cli
from utils.errors import InputError
from utils.options import from_args

OUTFILE = Path("results/result_voice.mp4")
NOT_GIVEN = object()


def main(args: argparse.Namespace) -> int:
    options = from_args(Options, args)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch: idle threads that spin hold up the encoder
    if not args.jobs and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("several processes share a list of dubs: give --jobs, or leave out torchrun")
    if args.demo:
        demonstrate(options)
        return 0
    if args.redo:
        redo(args)
        return 0
    if args.jobs:
        return dub_list(args.jobs, options, args.outfile or OUTFILE)
    if not (args.face and args.audio):
        raise InputError("--face and --audio are needed, or --jobs, or --demo")
    from dubbing.jobs import output_path

    outfile = output_path(args.face, args.audio, args.outfile or OUTFILE, options)  # checked before weights are read
    say(dubbing.Dubber(options).dub(args.face, args.audio, outfile))
    if args.outfile is None:
        print(f"the next dub replaces {outfile}; --outfile gives another name")
    return 0


def dub_list(path: Path, options: Options, outfile: Path) -> int:
    """The dubs of a list: each fails alone; networks are loaded anew only where a job asks for others. Processes that
    torchrun started share them; the exit code is the first one's."""
    from tqdm import tqdm

    from dubbing.jobs import read_jobs
    from utils import distributed

    console, device = sys.stdout, distributed.init_processes(options.device)
    jobs = distributed.from_main(lambda: read_jobs(path, options, outfile))
    share = range(distributed.rank(), len(jobs), distributed.world_size())
    networks, failed = None, 0
    for number in share:
        job = jobs[number]
        print(f"job {number + 1} of {len(jobs)}: {job.face}", file=sys.stderr, flush=True)
        try:
            here = device if job.options.device == options.device else job.options.device
            dubber = dubbing.Dubber(replace(job.options, device=here), networks)
            networks = dubber.networks
            bar = partial(tqdm, disable=not distributed.is_main())
            say(dubber.dub(job.face, job.audio, job.outfile, bar), console)
        except (InputError, OSError) as error:
            failed += 1
            print(f"error: job {number + 1}: {error}", file=sys.stderr, flush=True)
    failed = distributed.total(failed)
    distributed.destroy_processes()
    if failed and distributed.is_main():
        return 1 if failed < len(jobs) else 2
    return 0


def redo(args: argparse.Namespace) -> None:
    """Make some seconds of an earlier dub again, with the settings that are given now."""
    from dubbing.redo import Redo

    if args.jobs or args.audio:
        raise InputError("--redo: takes a dub, as --outfile or --face, and no --audio or --jobs")
    earlier = args.face or args.outfile or OUTFILE
    again = Redo.of(earlier, args.outfile or earlier, args.redo, args.given)
    say(dubbing.Dubber(again.options).dub(again.record.face, again.record.audio, again.outfile, redo=again))
    print("made again: {:.2f} to {:.2f} s; encoded again: {:.2f} to {:.2f} s; all else is copied".format(
        *again.seconds, *again.encoded_seconds))  # fmt: skip


def demonstrate(options: Options) -> None:
    from demo import showcase  # the scorers, which no other dub waits for

    dubber = dubbing.Dubber(options)
    for person in showcase.PEOPLE:
        say(dubber.dub(person.face, person.speech, person.dubbed))
    print(f"open {showcase.present(options.device)} in a browser")


def say(record: "dubbing.Record", file: TextIO | None = None) -> None:
    unchanged = f", {record.unchanged} left unchanged" if record.unchanged else ""
    print(f"{record.outfile}: {record.frames} frames{unchanged}", file=file, flush=True)
    if record.findings:
        print(f"found: {', '.join(record.findings)}", file=file, flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser_for(__doc__, Options)
    add = parser.add_argument
    add("--face", type=Path, help="video or picture with the face")
    add("--audio", type=Path, help="any sound or video file with the speech")
    add("--outfile", "--out-file", "--out_file", type=Path,
        help=f"video to write, or a folder (default: {OUTFILE.as_posix()})")  # fmt: skip
    add("--jobs", type=Path, metavar="LIST", help="CSV or JSON list of dubs, each with face, audio and other flags")
    add("--demo", action="store_true", help="dub two bundled clips, score them and make a page that shows them")
    add("--redo", metavar="FROM-TO", help="make these seconds of an earlier dub, --outfile, again with other settings")
    args = parser.parse_args(argv)
    names = [setting.name for setting in fields(Options)]
    typed = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(names, NOT_GIVEN)))  # takes no defaults for them
    args.given = {name: getattr(typed, name) for name in names if getattr(typed, name) is not NOT_GIVEN}
    return args


if __name__ == "__main__":
    cli.run(main, parse_args)
