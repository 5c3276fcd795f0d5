"""Writes docs/benchmarks.md from the figures in benchmarks/results/ and from benchmarks/notes.md.

python -m docs.generate_benchmarks
"""

from pathlib import Path
from textwrap import fill

from benchmarks import BENCHMARKS, results
from benchmarks.results import Measurement
from utils.files import write_text

PAGE = Path(__file__).with_name("benchmarks.md")
NOTES = Path(results.__file__).with_name("notes.md")
INTRODUCTION = """\
# Benchmarks

```
make bench                            # all of it, and this page anew
python -m benchmarks trainings dubs   # parts: trainings, training_parts, dubs, engines
python -m benchmarks gpu              # what a GPU does, in under five minutes
```

Written by `python -m docs.generate_benchmarks` from the figures in `benchmarks/results/`, one folder a machine, and
`benchmarks/notes.md`; change those, not this page. "Plain" is code that does the same work the way the published code
does, in the same run; "times" says how many times better the code here is. The load is how many tasks wanted a core
over the minute before: above the number of cores only ratios say something, and CPU time only of one thread
(`OMP_NUM_THREADS=1`), since threads that wait for one another take time, too.
"""


def benchmarks_page(folder: Path = results.RESULTS) -> str:
    """The text of docs/benchmarks.md."""
    machines = (
        [results.read(path) for name in BENCHMARKS if (path := machine / f"{name}.json").exists()]
        for machine in sorted(folder.iterdir())
    )
    return "\n".join([INTRODUCTION, *map(_machine, filter(None, machines)), NOTES.read_text(encoding="utf-8")])


def _machine(measurements: list[Measurement]) -> str:
    about = measurements[0].machine
    name = ", ".join(about[what] for what in ("GPU", "CPU") if what in about)
    cores = f"{about['cores']} core{'s' * (about['cores'] != '1')}"
    return "\n".join(
        [f"## {name}, {cores}\n\nInstructions: {about['instructions']}.\n", *map(_benchmark, measurements)]
    )


def _benchmark(found: Measurement) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    load = "" if found.load is None else f" Load {found.load}."
    measured = f"Measured on {found.measured}, {found.threads} thread{'s' * (found.threads != 1)}.{load} {versions}."
    return f"### {found.title}\n\n{_wrapped(found.conditions)}\n\n{results.table(found.rows)}\n{_wrapped(measured)}\n"


def _wrapped(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    write_text(PAGE, benchmarks_page())
