"""The published and bundled weight files: what they are, where they belong, and getting them there.

python weights.py list                          # every file, its place, licence and SHA-256, whether it is there
python weights.py fetch s3fd wav2lip_gan        # download; an interrupted download goes on where it was
python weights.py import ~/Downloads/file.pth   # put a file that you have in its place, whatever its name
python weights.py verify                        # check every file that is there
python weights.py export best.pth mine.safetensors   # weights alone in half precision, to keep or to share

Only export needs PyTorch.
"""

import argparse
from pathlib import Path

from models import download
from models.published import BUNDLED, PUBLISHED, published
from utils import cli


def list_files() -> None:
    for file in (*PUBLISHED, *BUNDLED):
        state = "there" if file.path.exists() else "missing"
        print(f"{file.name:20} {file.size / 1e6:6.1f} MB  {state:8} {file.file}")
        print(*(f"{'':20} {line}" for line in (file.note, file.licence, f"SHA-256 {file.sha256}")), sep="\n")


def main(args: argparse.Namespace) -> None:
    if args.command == "list":
        list_files()
    elif args.command == "fetch":
        for file in [published(name) for name in args.names]:
            download.fetch(file)
    elif args.command == "import":
        for source in args.files:
            download.import_file(source)
    elif args.command == "verify":
        print(f"{download.verify()} of {len(PUBLISHED) + len(BUNDLED)} files are there, all as published")
    else:
        from models.checkpoint import export  # needs PyTorch

        network = export(args.source, args.target)
        print(f"{args.target}: {network}, {args.target.stat().st_size / 1e6:.1f} MB")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.parser_for(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify")
    commands.add_parser("fetch").add_argument("names", nargs="+", metavar="NAME")
    commands.add_parser("import").add_argument("files", nargs="+", type=Path, metavar="FILE")
    export_flags = commands.add_parser("export")
    export_flags.add_argument("source", type=Path, metavar="CHECKPOINT")
    export_flags.add_argument("target", type=Path, metavar="OUT")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
