"""The published and bundled weight files: list, download, import, verify and export them.

python weights.py list                          # every file: its place, licence and SHA-256, and whether it exists
python weights.py fetch s3fd wav2lip_gan        # download; the SHA-256 is checked
python weights.py import ~/Downloads/file.pth   # copy a file you have to its place, whatever its name
python weights.py verify                        # check the SHA-256 of every file that exists
python weights.py export best.pth mine.safetensors   # weights alone in half precision, to keep or to share
python weights.py average a.pth b.pth mean.safetensors --share 0.25   # of two trainings of one network
python weights.py amplify best.pth lively.safetensors --motion 1.3 --contrast 1.02   # mouths that move more
python weights.py export best.pth mine.xml --format openvino   # a generator that runs without PyTorch; or onnx

Only the last four need PyTorch.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.published import all_files, fetch, import_file, published, state, verify
from utils import cli
from utils.errors import InputError, format_error

FORMATS = ("safetensors", "onnx", "openvino")  # of export: models/export.py


def list_files() -> None:
    for file in all_files():
        print(f"{file.name:20} {file.size / 1e6:6.1f} MB  {state(file):8} {file.file}")
        print(*(f"{'':20} {line}" for line in (file.note, file.licence, f"SHA-256 {file.sha256}")), sep="\n")


def each(work: Callable[[Any], None], items: list) -> int:
    """Work on every item; one that fails is one line, and the next follows. Returns the exit code."""
    failed = 0
    for item in items:
        try:
            work(item)
        except (InputError, OSError) as error:
            failed += 1
            print(f"error: {format_error(error)}", file=sys.stderr, flush=True)
    return 0 if not failed else 1 if failed < len(items) else 2


def main(args: argparse.Namespace) -> int:
    if args.command == "list":
        list_files()
    elif args.command == "fetch":
        return each(fetch, [published(name) for name in args.names])
    elif args.command == "import":
        return each(import_file, args.files)
    elif args.command == "verify":
        print(f"{verify()} of {len(all_files())} files exist, all as published")
    elif args.command == "average":
        from models.export import average

        print(f"{args.target}: {average(args.first, args.second, args.target, args.share)}, averaged")
    elif args.command == "amplify":
        from models.export import amplify

        print(f"{args.target}: {amplify(args.source, args.target, args.motion, args.contrast)}, amplified")
    else:
        from models.export import export

        network = export(args.source, args.target, args.format)
        print(f"{args.target}: {network}, {args.target.stat().st_size / 1e6:.1f} MB")
    return 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser_for(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify")
    commands.add_parser("fetch").add_argument("names", nargs="+", metavar="NAME")
    commands.add_parser("import").add_argument("files", nargs="+", type=Path, metavar="FILE")
    average_flags = commands.add_parser("average")
    for name in ("first", "second", "target"):
        average_flags.add_argument(name, type=Path, metavar="OUT" if name == "target" else "CHECKPOINT")
    average_flags.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1; default: %(default)s")
    amplify_flags = commands.add_parser("amplify")
    amplify_flags.add_argument("source", type=Path, metavar="CHECKPOINT")
    amplify_flags.add_argument("target", type=Path, metavar="OUT")
    amplify_flags.add_argument("--motion", type=float, default=1.3, help="gain of the speech; default: %(default)s")
    amplify_flags.add_argument("--contrast", type=float, default=1.0, help="gain of the picture; default: %(default)s")
    export_flags = commands.add_parser("export")
    export_flags.add_argument("source", type=Path, metavar="CHECKPOINT")
    export_flags.add_argument("target", type=Path, metavar="OUT")
    export_flags.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default: %(default)s")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
