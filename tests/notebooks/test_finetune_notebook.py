"""notebooks/finetune.ipynb: what readers see of it, and whether it runs."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOK = ROOT / "notebooks" / "finetune.ipynb"
LARGEST = 600_000  # bytes, which a page of a repository shows without waiting
QUICK = "batch_size=1,single_frames=2,frames_first=1,eval_interval=2,eval_early=False,eval_windows=8,num_workers=0"


def read() -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell) -> list[str]:
    """The kinds of what a cell shows besides printed text."""
    return [kind for output in cell.outputs for kind in output.get("data", {}) if kind != "text/plain"]


def test_its_outputs_are_committed_without_errors():
    cells = code_cells(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from its beginning"
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    kinds = [kind for cell in cells for kind in shown(cell)]
    assert kinds == ["image/jpeg", "text/markdown", "image/png", "image/jpeg", "image/jpeg", "text/html"], (
        "faces, report, curves, before and after, source and dub, video"
    )
    assert "<video" in cells[-1].outputs[0].data["text/html"]


def test_it_is_small_and_tells_nothing_of_the_machine_it_ran_on():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert re.findall(r"(?:/home|/root|/tmp|/work|/Users|C:\\)[/\\][\w./\\-]+", text) == []
    assert "GRID corpus" in text
    assert "CC BY 4.0" in text


def executed(parameters: dict[str, object]) -> nbformat.NotebookNode:
    """The notebook run in its own place, with other parameters."""
    notebook = read()
    at, cell = next((n, c) for n, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
    known = {name for names in re.findall(r"^([A-Z, ]+) = ", cell.source, re.MULTILINE) for name in names.split(", ")}
    assert set(parameters) <= known, "parameters that it does not have"
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(given))
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    del notebook.cells[at + 1]
    return notebook


@pytest.mark.slow
@pytest.mark.long
def test_it_runs_from_raw_videos_to_a_dubbed_one(tmp_path, generator, expert):
    work = tmp_path / "the notebook's"
    parameters = {"STEPS": 2, "GENERATOR": str(generator), "EXPERT": str(expert), "HPARAMS": QUICK, "WORK": str(work)}
    notebook = executed(parameters)
    assert (work / "dubbed.mp4").stat().st_size > 10_000
    assert (work / "checkpoints" / "checkpoint_step000000002.pth").exists()
    assert [shown(cell) for cell in code_cells(notebook)] == [shown(cell) for cell in code_cells(read())], (
        "shows other things than the committed outputs"
    )
