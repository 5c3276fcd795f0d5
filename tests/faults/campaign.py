"""Runs the cases in two processes, prints what comes of each, and writes the page."""

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cases
import world

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dubbing", "training", "metrics", "preprocessing", "reports")  # imported once here instead of in every case
SLOW = ("torch._dynamo", "matplotlib.backends.backend_svg", "jinja2.ext")  # and what they import late
CASE_LIMIT = 900  # seconds; a command of a case has a lower limit of its own
PAGE = """\
# Reliability

Written by `make campaign CASES={cases}` (`tests/faults/`; `make test` runs the first 30) at commit {commit}, in
{minutes:.0f} minutes with {cpu:.0f} minutes of CPU time.

Each case disturbs a script: by a signal at any time, a full disk, damaged footage, weights,
caches, lists or records, unusual file names, two scripts at once, or closed streams. A case is right if the script
gives the same result as without the disturbance, or ends with a one-line error and the right exit code; all earlier
results must then be undamaged, and the same command given again must give the undisturbed result.

| | cases | right | lost | traceback | hung | silent | left behind | no single line |
|---|---|---|---|---|---|---|---|---|
{rows}

Lost: an earlier result is damaged, or the command given again does not end as it would without the disturbance. Silent:
a different result, or none, without a message. Left behind: processes or temporary files. No single line: an error in
no line or several, or with the wrong exit code.
{wrong}"""


@dataclass
class Outcome:
    number: int
    kind: str
    wrong: set[str]  # which of cases.OUTCOMES
    text: str  # what to print


def cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_case(number: int, folder: Path, references: dict) -> Outcome:
    """In a process of the pool."""
    began, cpu = time.monotonic(), cpu_seconds()
    kind, fault, command = cases.planned(number)
    case = cases.Case(number, kind, command, folder / "world", folder / str(number), references[command])
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(CASE_LIMIT)
    try:
        fault(case)
    except (Exception, KeyboardInterrupt) as error:
        hung = isinstance(error, KeyboardInterrupt)
        case.problems.append(("hung" if hung else "silent", traceback.format_exc()))
    signal.alarm(0)
    case.end()
    wrong, cpu = {outcome for outcome, _ in case.problems}, cpu_seconds() - cpu
    text = f"{number} {kind}, {command}: {', '.join(sorted(wrong)) or 'right'} "
    text += f"({time.monotonic() - began:.1f} s, CPU {cpu:.1f} s)\n"
    if wrong:
        text += "\n".join([*case.story, *(f"{outcome}: {what[-900:]}" for outcome, what in case.problems), ""])
    return Outcome(number, kind, wrong, text)


def campaign(numbers: list[int], processes: int) -> list[Outcome]:
    folder, found = Path(tempfile.mkdtemp(prefix="faults.")), []  # TemporaryDirectory would end with each fork
    try:
        names = sorted({cases.planned(number)[2] for number in numbers})
        world.make_world(folder / "world", set(names))
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:  # with what is imported
            references = dict(zip(names, pool.map(partial(world.reference, folder), names), strict=True))
            outcomes = [pool.submit(run_case, number, folder, references) for number in numbers]
            for count, outcome in enumerate(as_completed(outcomes), 1):
                found.append(outcome.result())
                print(f"{count}/{len(numbers)}: {found[-1].text}", end="", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sorted(found, key=lambda outcome: outcome.number)


def page(found: list[Outcome], minutes: float) -> str:
    rows = []
    for kind in [*dict.fromkeys(outcome.kind for outcome in found), ""]:
        those = [outcome.wrong for outcome in found if kind in ("", outcome.kind)]
        counts = [len(those), those.count(set()), *(sum(name in each for each in those) for name in cases.OUTCOMES)]
        rows.append(f"| {kind or '**all**'} | {' | '.join(map(str, counts))} |")
    wrong = ", ".join(f"{outcome.number} ({outcome.kind})" for outcome in found if outcome.wrong)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    return PAGE.format(
        cases=len(found), commit=commit.strip() or "unknown", minutes=minutes, cpu=cpu_seconds() / 60,
        rows="\n".join(rows), wrong=f"\nNot right: {wrong}.\n" if wrong else "",
    )  # fmt: skip


def main(description: str | None) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    parser.add_argument("--out", type=Path, help="page to write, such as docs/reliability.md")
    args = parser.parse_args()
    began = time.monotonic()
    ours = [module.name for name in PACKAGES for module in pkgutil.iter_modules([str(ROOT / name)], f"{name}.")]
    for name in (*ours, *SLOW):
        importlib.import_module(name)
    found = campaign(args.only or list(range(args.cases)), min(2, os.cpu_count() or 1))
    print(f"{len(found)} cases in {time.monotonic() - began:.0f} s, CPU {cpu_seconds():.0f} s")
    if args.out:
        args.out.write_text(page(found, (time.monotonic() - began) / 60))
    return int(any(outcome.wrong for outcome in found))
