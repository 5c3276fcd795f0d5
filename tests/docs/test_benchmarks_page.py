"""The page of figures is made of the files of figures, and of nothing else."""

import json

import pytest

from benchmarks import results
from benchmarks.results import Measurement, Row
from docs.generate_benchmarks import PAGE, benchmarks_page


def test_the_page_of_figures_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == benchmarks_page(), "run `make docs`"


@pytest.mark.parametrize(
    ("row", "times", "line"),
    [
        (Row("windows", "windows/s", 2080.4, 120.0), 17.3, "| windows | 2,080 windows/s | 120 | 17 times |\n"),
        (Row("dub", "s", 15.4, 46.2), 3.0, "| dub | 15.4 s | 46.2 | 3.0 times |\n"),
        (Row("loss", "", 0.25, 0.25), None, "| loss | 0.25 | 0.25 |  |\n"),
        (Row("share", "%", 87.0), None, "| share | 87.0% |  |  |\n"),
    ],
)
def test_more_is_better_of_rates_and_less_of_all_else(row, times, line):
    assert row.times == (pytest.approx(times, abs=0.05) if times else None)
    assert results.table((Row("any", "s", 1.0, 1.0), row)).endswith(line)


def test_what_was_measured_is_read_back_and_shown_with_its_machine_and_load(tmp_path):
    machine = {"CPU": "Some CPU", "cores": "2", "instructions": "avx2", "GPU": "Some GPU, 80 GiB"}
    found = Measurement(
        "Dubbing", "Of ten seconds.", (Row("dub", "s", 1.5, 3.0),), machine, {"torch": "2.0"}, 2, 4.2, "2026-01-01"
    )
    path = tmp_path / results.folder_name(machine) / "dubs.json"
    found.write(path)
    assert path.parent.name == "some-gpu-80-gib-2-cores"
    assert results.read(path) == found
    assert json.loads(path.read_text(encoding="utf-8"))["rows"][0]["times"] == 2
    page = benchmarks_page(tmp_path)
    assert "## Some GPU, 80 GiB, Some CPU, 2 cores\n" in page
    assert "### Dubbing\n\nOf ten seconds.\n\n| what | here | plain | |\n" in page
    assert "Measured on 2026-01-01, 2 threads. Load 4.2. torch 2.0.\n" in page


def test_this_machine_can_be_described():
    assert results.machine().keys() >= {"CPU", "cores", "instructions"}
    assert results.versions().keys() >= {"Python", "torch", "OS"}
