"""A campaign of faults: kills, full disks, damaged files, odd names, two at once, closed streams. POSIX.

    python -m tests.faults --cases 300 --out docs/reliability.md   # as `make campaign CASES=300`
    python -m tests.faults --only 41 57                            # these, by their numbers, which are their seeds

Exit code 1: a case is not right.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]
os.environ["OMP_NUM_THREADS"] = "1"  # no thread of PyTorch may be running at a fork
SLOW_TO_IMPORT = (  # once here instead of in every case
    "dubbing.dubber", "training.refiner", "training.generator", "training.summary", "metrics.evaluation",
    "preprocessing.run", "torch._dynamo", "matplotlib.backends.backend_svg", "jinja2.ext",
)  # fmt: skip
CASE_LIMIT = 900  # seconds; a command of a case has a lower limit of its own
PAGE = """\
# Reliability

Written by `make campaign CASES={cases}` (`tests/faults/`; `make test` runs the first 30) at commit {commit}, in
{minutes:.0f} minutes with {cpu:.0f} minutes of CPU time. Each case disturbs a script: a signal at any time, no room on
the disk, damaged footage, weights, caches, lists or records, any names, two at once, closed streams. A case is right if
the script gives the same result as undisturbed, or ends in one line with the right exit code; all earlier results are
then whole, and the same command given again gives the undisturbed result.

| | cases | right | lost | traceback | hung | silent | left behind | no single line |
|---|---|---|---|---|---|---|---|---|
{rows}

Lost: an earlier result is damaged, or the command given again does not end as undisturbed. Silent: another result, or
none, without a word. Left behind: processes, or temporary files. No single line: an error told in no line, in several,
or with another exit code.
{wrong}"""


@dataclass
class Outcome:
    number: int
    kind: str
    wrong: set[str]  # which of cases.OUTCOMES
    text: str  # what to print
    cpu: float  # seconds


def cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_case(number: int, folder: Path, references: dict) -> Outcome:
    """In a process of the pool."""
    from cases import Case, planned

    def hung(*_: object) -> None:
        raise TimeoutError(f"the case took {CASE_LIMIT} s")

    began, cpu, place = time.monotonic(), cpu_seconds(), folder / str(number)
    kind, fault, command = planned(number)
    case = Case(number, kind, command, folder / "world", place, references[command])
    signal.signal(signal.SIGALRM, hung)
    signal.alarm(CASE_LIMIT)
    try:
        fault(case)
    except TimeoutError:
        case.problems.append(("hung", traceback.format_exc()))
    except Exception:
        case.problems.append(("silent", traceback.format_exc()))
    signal.alarm(0)
    for run in case.runs:
        run.end()
    shutil.rmtree(place, ignore_errors=True)
    wrong, cpu = {outcome for outcome, _ in case.problems}, cpu_seconds() - cpu
    told = f"{number:4} {kind}, {command}: {', '.join(sorted(wrong)) or 'right'}"
    told += f" ({time.monotonic() - began:.1f} s, CPU {cpu:.1f} s)\n"
    if case.problems:
        seen = [*case.story, *(f"{outcome}: {what[-900:]}" for outcome, what in case.problems)]
        told += "".join(f"       {line}\n" for text in seen for line in text.splitlines())
    return Outcome(number, kind, wrong, told, cpu)


def campaign(numbers: list[int], processes: int) -> list[Outcome]:
    from cases import planned
    from world import make_world, reference

    folder, found = Path(tempfile.mkdtemp(prefix="faults.")), []  # TemporaryDirectory would end with each fork
    context = multiprocessing.get_context("fork")  # with what is imported
    try:
        names = sorted({planned(number)[2] for number in numbers})
        make_world(folder / "world", set(names))
        with ProcessPoolExecutor(processes, context) as pool:
            waiting = {name: pool.submit(reference, folder, name) for name in names}
            references = {name: future.result() for name, future in waiting.items()}
            cases = [pool.submit(run_case, number, folder, references) for number in numbers]
            for count, future in enumerate(as_completed(cases), 1):
                found.append(future.result())
                print(f"{count}/{len(cases)} {found[-1].text}", end="", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sorted(found, key=lambda outcome: outcome.number)


def page(found: list[Outcome], minutes: float) -> str:
    from cases import OUTCOMES

    rows = []
    for kind in [*dict.fromkeys(outcome.kind for outcome in found), ""]:
        those = [outcome.wrong for outcome in found if kind in ("", outcome.kind)]
        counts = [len(those), those.count(set()), *(sum(name in each for each in those) for name in OUTCOMES)]
        rows.append(f"| {kind or '**all**'} | {' | '.join(map(str, counts))} |")
    wrong = ", ".join(f"{outcome.number} ({outcome.kind})" for outcome in found if outcome.wrong)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    return PAGE.format(
        cases=len(found), commit=commit.strip() or "unknown", minutes=minutes, cpu=cpu_seconds() / 60,
        rows="\n".join(rows), wrong=f"\nNot right: {wrong}.\n" if wrong else "",
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    parser.add_argument("--out", type=Path, help="page to write, such as docs/reliability.md")
    args = parser.parse_args()
    began = time.monotonic()
    for name in SLOW_TO_IMPORT:
        import_module(name)
    found = campaign(args.only or list(range(args.cases)), min(2, os.cpu_count() or 1))
    print(f"CPU {cpu_seconds():.0f} s, of which cases {sum(outcome.cpu for outcome in found):.0f} s")
    if args.out:
        args.out.write_text(page(found, (time.monotonic() - began) / 60))
    return int(any(outcome.wrong for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
