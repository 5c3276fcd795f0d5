"""A campaign of faults: kills, full disks, damaged files, odd names, two at once, closed streams. POSIX.

    python -m tests.faults --cases 300 --out docs/reliability.md   # as `make campaign CASES=300`
    python -m tests.faults --only 41 57                            # these, by their numbers, which are their seeds

Exit code 1: a case is not right.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "faults")]
os.environ["OMP_NUM_THREADS"] = "1"  # no thread of PyTorch may be running at a fork

PAGE = """\
# Reliability

Written by `make campaign CASES={cases}` (`tests/faults/`; `make test` runs the first 30). Each case disturbs a script:
a signal at any time, no room on the disk, damaged footage, weights, caches, lists or records, any names, two at once,
closed streams. It is right where the script ends in the same result as undisturbed, or in one line with the right exit
code, after which all that was there is whole and the same command ends as if nothing had been.

| | cases | right | lost | traceback | hung | silent | left behind | no single line |
|---|---|---|---|---|---|---|---|---|
{rows}

Lost: an earlier result is damaged, or the command given again does not end as undisturbed. Silent: another result, or
none, without a word. Left behind: processes, or files that are written on the way. No single line: an error told in
none, or in several, or with another exit code.
{wrong}"""


def share(numbers: list[int], world: Path, folder: Path, references: dict, tell: multiprocessing.Queue) -> None:
    from cases import Case, planned

    for number in numbers:
        began, place = time.monotonic(), folder / str(number)
        kind, name = planned(number)
        case = Case(number, name, world, place, references[name])
        try:
            kind(case)
        except Exception:
            case.problems.append(("silent", traceback.format_exc()))
        shutil.rmtree(place, ignore_errors=True)
        outcomes = {outcome for outcome, _ in case.problems}
        seconds = time.monotonic() - began
        told = f"{number:4} {kind.__name__}, {name}: {', '.join(outcomes) or 'right'} ({seconds:.1f} s)\n"
        if case.problems:
            seen = [*case.story, *(f"{outcome}: {what[-900:]}" for outcome, what in case.problems)]
            told += "".join(f"       {line}\n" for text in seen for line in text.splitlines())
        tell.put((number, kind.__name__.replace("_", " "), outcomes, told))


def campaign(numbers: list[int], processes: int) -> list[tuple]:
    """(number, kind, outcomes, what was seen) of each case."""
    from cases import planned
    from world import COMMANDS, Run, copy_world, make_world, results

    folder, references = Path(tempfile.mkdtemp(prefix="faults.")), {}  # TemporaryDirectory would end with each fork
    try:
        names = {planned(number)[1] for number in numbers}
        world = make_world(folder / "world", names)
        for name in sorted(names):
            copy_world(world, folder / name, name)
            ended = Run(folder / name, COMMANDS[name]).wait(600)
            assert ended.code in (0, 1), ended.text
            references[name] = {"code": ended.code, "seconds": ended.seconds, "results": results(folder / name)}
        context = multiprocessing.get_context("fork")  # with what is imported
        tell = context.Queue()
        for n in range(processes):
            context.Process(target=share, args=(numbers[n::processes], world, folder, references, tell)).start()
        found = []
        for _ in numbers:
            found.append(tell.get(timeout=900))
            print(found[-1][-1], end="", flush=True)
    finally:
        shutil.rmtree(folder)
    return sorted(found)


def page(found: list[tuple]) -> str:
    from cases import OUTCOMES

    rows = []
    for kind in [*dict.fromkeys(kind for _, kind, *_ in found), ""]:
        those = [outcomes for _, theirs, outcomes, _ in found if kind in ("", theirs)]
        counts = [len(those), those.count(set()), *(sum(name in each for each in those) for name in OUTCOMES)]
        rows.append(f"| {kind or '**all**'} | {' | '.join(map(str, counts))} |")
    wrong = ", ".join(f"{number} ({kind})" for number, kind, outcomes, _ in found if outcomes)
    return PAGE.format(cases=len(found), rows="\n".join(rows), wrong=f"\nNot right: {wrong}.\n" if wrong else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    parser.add_argument("--out", type=Path, help="page to write, such as docs/reliability.md")
    args = parser.parse_args()
    for slow in ("dubbing.dubber", "training.refiner", "training.generator", "metrics.videos"):
        __import__(slow)
    found = campaign(args.only or list(range(args.cases)), min(2, os.cpu_count() or 1))
    if args.out:
        args.out.write_text(page(found))
    return int(any(outcomes for _, _, outcomes, _ in found))


if __name__ == "__main__":
    sys.exit(main())
