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
import os
import sys
from pathlib import Path

import dubbing
from dubbing.options import Options
from utils import cli
from utils.errors import InputError
from utils.options import from_args

OUTFILE = Path("results/result_voice.mp4")


def main(args: argparse.Namespace) -> int:
    options = from_args(Options, args)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch: idle threads that spin hold up the encoder
    if args.demo:
        demonstrate(options)
        return 0
    if args.jobs:
        return dub_list(args.jobs, options, args.outfile)
    if not (args.face and args.audio):
        raise InputError("--face and --audio are needed, or --jobs, or --demo")
    from dubbing.jobs import output_path

    outfile = output_path(args.face, args.audio, args.outfile, options)  # checked before any weights are read
    say(dubbing.Dubber(options).dub(args.face, args.audio, outfile))
    return 0


def dub_list(path: Path, options: Options, outfile: Path) -> int:
    """The dubs of a list: each fails alone; networks are loaded anew only where a job asks for others."""
    from dubbing.jobs import read_jobs

    jobs, failed = read_jobs(path, options, outfile), 0
    networks = None
    for number, job in enumerate(jobs, 1):
        print(f"job {number} of {len(jobs)}: {job.face}", file=sys.stderr, flush=True)
        try:
            dubber = dubbing.Dubber(job.options, networks)
            networks = dubber.networks
            say(dubber.dub(job.face, job.audio, job.outfile))
        except (InputError, OSError) as error:
            failed += 1
            print(f"error: job {number}: {error}", file=sys.stderr)
    if failed:
        return 1 if failed < len(jobs) else 2
    return 0


def demonstrate(options: Options) -> None:
    from demo import showcase  # the scorers, which no other dub waits for

    dubber = dubbing.Dubber(options)
    for person in showcase.PEOPLE:
        say(dubber.dub(person.face, person.speech, person.dubbed))
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
    parser = cli.parser_for(__doc__, Options)
    add = parser.add_argument
    add("--face", type=Path, help="video or picture with the face")
    add("--audio", type=Path, help="any sound or video file with the speech")
    add("--outfile", "--out-file", "--out_file", type=Path, default=OUTFILE,
        help=f"video to write, or a folder (default: {OUTFILE.as_posix()})")  # fmt: skip
    add("--jobs", type=Path, metavar="LIST", help="CSV or JSON list of dubs, each with face, audio and other flags")
    add("--demo", action="store_true", help="dub two bundled clips, score them and make a page that shows them")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
