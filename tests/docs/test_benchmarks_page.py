"""The page of figures is made of the files of figures, and of nothing else."""

import json
import os
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as command
from benchmarks import measuring, results, training_parts
from benchmarks.results import Measurement, Row
from docs.generate_benchmarks import PAGE, benchmarks_page
from utils import cli


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


def benchmark(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        cli.run(command.main, command.parse_args, list(map(str, arguments)))
    return end.value.code


def test_a_benchmark_leaves_its_figures_in_the_folder_of_this_machine_and_prints_them(tmp_path, monkeypatch, capsys):
    rows = [Row("optimizer", "ms", 100.0)]
    monkeypatch.setattr(training_parts, "measure", lambda: rows)
    assert benchmark("training_parts", "--out", tmp_path) == 0
    (path,) = tmp_path.rglob("*.json")
    assert path == tmp_path / results.folder_name(results.machine()) / "training_parts.json"
    found = results.read(path)
    assert (found.title, found.rows) == (training_parts.TITLE, tuple(rows))
    assert "| optimizer | 100 ms |" in capsys.readouterr().out


def test_a_benchmark_that_does_not_exist_is_refused_before_any_runs(tmp_path, capsys):
    assert benchmark("training_parts", "no such thing", "--out", tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: no such thing: is no benchmark; choose from trainings, ")


def test_a_benchmark_that_is_killed_is_a_failure_of_all(monkeypatch):
    codes = iter((0, -9))
    monkeypatch.setattr(command.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=next(codes)))
    assert benchmark("dubs", "engines") == 1


def test_a_rate_is_taken_over_the_time_that_was_asked_for_after_calls_that_do_not_count(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(measuring.time, "process_time", lambda: next(clock))
    calls = []
    assert measuring.rate(lambda: calls.append(1), 10, seconds=4) == pytest.approx(10, rel=0.5)
    assert len(calls) > 2


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say what a process took")
def test_the_memory_and_the_time_of_a_process_are_its_own():
    little, much = (
        measuring.run("-c", "pass"),
        measuring.run("-c", "kept = bytes([1]) * (200 << 20); sum(range(20_000_000))"),
    )
    assert little.megabytes < 100  # this process takes several times as much
    assert 200 < much.megabytes < 300
    assert much.cpu > little.cpu + 0.1
    with pytest.raises(RuntimeError, match="failed with 3"):
        measuring.run("-c", "raise SystemExit(3)")


def test_this_machine_can_be_described():
    assert results.machine().keys() >= {"CPU", "cores", "instructions"}
    assert results.versions().keys() >= {"Python", "torch", "OS"}
