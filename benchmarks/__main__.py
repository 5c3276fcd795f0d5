"""python -m benchmarks [NAME ...]"""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import torch

from benchmarks import BENCHMARKS, ON_CPU, results
from benchmarks import __doc__ as description
from benchmarks.measuring import ROOT
from utils import cli
from utils.errors import InputError


def parse_args(arguments=None):
    parser = cli.parser_for(description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)}; else all")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the figures of this machine")
    return parser.parse_args(arguments)


def main(args) -> int:
    for name in args.names:
        if name not in BENCHMARKS:
            raise InputError(f"{name}: is no benchmark; choose from {', '.join(BENCHMARKS)}")
    names = args.names or (BENCHMARKS if torch.cuda.is_available() else ON_CPU)
    if len(names) == 1:
        run(names[0], args.out)
        return 0
    # a process each: what one keeps in memory, and how, is no business of the next
    commands = ([sys.executable, "-m", "benchmarks", name, "--out", str(args.out.resolve())] for name in names)
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
    return 1 if any(codes) else 0  # one that a signal has ended is below 0


def run(name: str, out: Path) -> None:
    load, benchmark = results.load_now(), import_module(f"benchmarks.{name}")
    found = results.measured(benchmark.TITLE, benchmark.CONDITIONS, benchmark.measure(), load)
    path = out / results.folder_name(found.machine) / f"{name}.json"
    found.write(path)
    print(f"{found.title}, load {found.load}\n\n{results.table(found.rows)}\n{path}", flush=True)


if __name__ == "__main__":
    cli.run(main, parse_args)
