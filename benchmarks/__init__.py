"""Rates, times and memory against plain code that works in the published way, in one run on one machine.

    python -m benchmarks                  # all of it, in under ten minutes on two quiet cores
    python -m benchmarks trainings dubs   # parts
    python -m benchmarks gpu              # on a GPU, in under five minutes

Each of BENCHMARKS is a module with a TITLE, CONDITIONS (what is measured, in words) and measure(), which returns
rows (results.py). They are written to results/<machine>/<name>.json, and docs/benchmarks.md is made of those
files and of notes.md by docs/generate_benchmarks.py.
"""

ON_CPU = ("trainings", "training_parts", "dubs", "engines")
BENCHMARKS = (*ON_CPU, "gpu")
