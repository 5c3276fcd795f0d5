"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # a bundled portrait with bundled speech
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights that are there
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/
    python inference.py --jobs jobs.csv --outfile results/    # columns face, audio, and any flag's name

Writes the video and, beside it, <outfile>.json: what was done. However long the video is, it takes the same memory.
Frames without a face pass through as they are. Exit code 1: some of several jobs failed.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch comes: idle threads that spin hold up the encoder

import cli
import encoders
from cli import InputError
from devices import DTYPES, pick_device
from dubbing import jobs
from dubbing.dub import Engine, dub, load_engine
from dubbing.paste import STYLES
from dubbing.source import EXTENSIONS


def resolve_outfile(args: argparse.Namespace) -> Path:
    """The file to write: --outfile itself, or <face>_<audio>.mp4 in it where it is a folder."""
    out = args.outfile
    if out.is_dir() or not out.suffix:
        out = out / f"{args.face.stem}_{args.audio.stem}{encoders.usual_suffix(args.codec)}"
    encoders.choose(args.codec, out.suffix, crf=args.crf, preset=args.preset)
    cli.writable_folder(out.parent, "--outfile")
    for flag, given in (("--face", args.face), ("--audio", args.audio)):
        if given.exists() and out.exists() and out.samefile(given):
            raise InputError(f"--outfile {out}: is the file given as {flag}; choose another name")
    return out


def dub_one(engine: Engine, args: argparse.Namespace, outfile: Path) -> None:
    record = dub(engine, args, outfile)
    passed = record["passed"]
    print(f"{outfile}: {record['frames']} frames" + (f", {passed} left as they were" if passed else ""))


def main(args: argparse.Namespace) -> int:
    """One dub, or those of a list: each fails alone, and all share the networks."""
    if not args.jobs:
        outfile = resolve_outfile(args)
        dub_one(load_engine(args), args, outfile)
        return 0
    todo = [parse_args([*args.given, *job]) for job in jobs.read(args.jobs)]
    for job in todo:
        if job.outfile == args.outfile and job.outfile.suffix:  # not named for itself
            job.outfile = args.outfile.parent
    outfiles = [resolve_outfile(job) for job in todo]
    twice = next((path for path in outfiles if outfiles.count(path) > 1), None)
    if twice:
        raise InputError(f"--jobs {args.jobs}: more than one job writes {twice}; give each an outfile")
    engine, failed = load_engine(args), 0
    for number, (job, outfile) in enumerate(zip(todo, outfiles, strict=True), 1):
        print(f"job {number} of {len(todo)}: {job.face}", file=sys.stderr, flush=True)
        try:
            dub_one(engine, job, outfile)
        except (InputError, OSError) as error:
            failed += 1
            print(f"error: job {number}: {error}", file=sys.stderr)
    return 0 if not failed else 1 if failed < len(todo) else 2


def demonstrate(args: argparse.Namespace) -> None:
    from demo import showcase  # scikit-image and the scorers, which no other dub waits for

    showcase.prepare()
    args.face, args.audio, args.outfile = showcase.FACE, showcase.AUDIO, showcase.DUBBED
    dub_one(load_engine(args), args, resolve_outfile(args))
    showcase.conclude(pick_device(args.device))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint_path", type=Path, help="generator weights (default: published ones that are there, else bundled)")
    add("--face", type=Path, help="video or picture with the face")
    add("--audio", type=Path, help="any sound or video file with the speech")
    add("--demo", action="store_true", help="dub the bundled portrait with the bundled speech, and score the result")
    add("--outfile", "--out-file", "--out_file", type=Path, default=Path("results/result_voice.mp4"),
        help="video to write, or a folder (default: results/result_voice.mp4)")  # fmt: skip
    add("--static", type=_boolean, nargs="?", const=True, default=False, help="use the first frame only")
    add("--fps", type=float, default=25.0, help="frames a second where --face is a picture")
    add("--pads", type=int, nargs=4, default=(0, 10, 0, 0), metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="pixels added to the face box; more at the bottom takes in the chin")  # fmt: skip
    add("--face_det_batch_size", type=int, default=16, help="frames detected at once")
    add("--wav2lip_batch_size", type=int, help="frames dubbed at once (default: 128, on a CPU 16)")
    add("--resize_factor", type=int, default=1, help="divide the resolution by this")
    add("--crop", type=int, nargs=4, default=(0, -1, 0, -1), metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="use this part of the frame, after --resize_factor and --rotate; -1 is the far edge")  # fmt: skip
    add("--box", type=int, nargs=4, metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="the face is here in every frame; no detection")  # fmt: skip
    add("--rotate", action="store_true", help="turn the video clockwise by 90 degrees")
    add("--face_at", type=_point, metavar="X,Y", help="follow the person at this point, when first there")
    add("--face_index", type=int, metavar="N",
        help="follow the Nth person from the left, from 0, in the first frame that shows the most")  # fmt: skip
    add("--align", action="store_true", help="turn tilted heads upright before they are dubbed")
    add("--nosmooth", action="store_true", help="do not smooth the face boxes over 5 frames")
    add("--published_timing", action="store_true", help="start the mel as the published code does, 40 ms later")
    add("--extend", choices=EXTENSIONS, default="loop", help="what is shown when the speech is longer (default: loop)")
    add("--keep_length", action="store_true", help="when the speech is shorter, play the rest of the video undubbed")
    add("--paste", choices=STYLES, default="soft", help="how the mouth is put back: without a seam, or the whole box")
    add("--silence", choices=("rest", "model"), default="rest", help="a resting mouth, or what the network makes of it")
    add("--audio_stream", type=int, metavar="N", help="sound track of --audio, from 0 (default: the best)")
    add("--codec", default="auto",
        help=f"{', '.join(encoders.CODECS)} or an encoder of FFmpeg's such as h264_nvenc (default: H.264)")  # fmt: skip
    add("--crf", type=int, help="quality on the encoder's scale, less is better (default: 18 for H.264)")
    add("--preset", help="the encoder's speed (default: veryfast for H.264)")
    add("--preview", type=float, nargs="?", const=5.0, metavar="SECONDS", help="only the first seconds (5)")
    add("--report", action="store_true", help="add <outfile>.png: source, result and difference at even times")
    add("--jobs", type=Path, metavar="LIST", help="CSV or JSON list of dubs, each with face, audio and other flags")
    add("--precision", choices=("auto", *DTYPES), default="auto", help="auto: bf16 where the hardware multiplies it")
    add("--no_cache", action="store_true", help="look for faces even where they are known from the last time")
    add("--face_detector", choices=("auto", "sfd", "retinaface"), default="auto")
    cli.add_common_flags(parser)
    args = parser.parse_args(argv)
    args.given = argv if argv is not None else sys.argv[1:]
    if not (args.demo or args.jobs) and not (args.face and args.audio):
        parser.error("--face and --audio are needed, or --jobs, or --demo")
    if args.box and set(args.box) == {-1}:  # the published way of saying: detect
        args.box = None
    if args.fps <= 0 or min(args.resize_factor, args.face_det_batch_size, args.wav2lip_batch_size or 1) < 1:
        parser.error("--fps, --resize_factor and the batch sizes must be above zero")
    return args


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError("give X,Y in pixels") from error
    return x, y


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("give True or False")
    return text.lower() == "true"


if __name__ == "__main__":
    given = parse_args()
    cli.run(demonstrate if given.demo else main, given)
