"""Runs the cases in two processes, and prints what comes of each and how many are right by kind."""

import argparse
import importlib
import multiprocessing
import pkgutil
import shutil
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import cases
import world

PACKAGES = ("dubbing", "training", "metrics", "preprocessing", "reports")  # imported once here instead of in every case
LATE = ("torch._dynamo", "matplotlib.backends.backend_svg", "jinja2.ext")  # what they import late


def run_case(number: int, folder: Path, references: dict) -> tuple[str, bool]:
    """In a process of the pool: kind of the case, whether it is right."""
    kind, fault, command = cases.planned(number)
    case = cases.Case(number, kind, command, folder / "world", folder / str(number), references[command])
    try:
        fault(case)
    except Exception:
        case.problems.append(traceback.format_exc())
    shutil.rmtree(case.folder, ignore_errors=True)
    print(f"{number} {kind}, {command}: {'NOT right' if case.problems else 'right'}", flush=True)
    if case.problems:
        print(*case.story, *case.problems, sep="\n", flush=True)
    return kind, not case.problems


def campaign(numbers: list[int]) -> list[tuple[str, bool]]:
    folder = Path(tempfile.mkdtemp(prefix="faults."))  # TemporaryDirectory would end with each fork
    try:
        names = sorted({cases.planned(number)[2] for number in numbers})
        world.make_world(folder / "world", set(names))
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:  # with what is imported
            references = dict(zip(names, pool.map(partial(world.reference, folder), names), strict=True))
            outcomes = [pool.submit(run_case, number, folder, references) for number in numbers]
            return [outcome.result() for outcome in as_completed(outcomes)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(description: str | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    args = parser.parse_args()
    for name in PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    found = campaign(args.only or list(range(args.cases)))
    for kind in sorted({kind for kind, _ in found}):
        right = [is_right for each, is_right in found if each == kind]
        print(f"{kind}: {sum(right)} of {len(right)} right")
    return int(not all(is_right for _, is_right in found))
