"""notebooks/finetune.ipynb: its committed outputs are whole, and it runs."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent.parent / "notebooks" / "finetune.ipynb"
QUICK = "batch_size=1,single_frames=2,frames_first=1,eval_interval=2,eval_early=False,eval_windows=8,num_workers=0"


def shown(notebook) -> list[list[str]]:
    """The kinds of what each code cell shows besides printed text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[kind for output in cell.outputs for kind in output.get("data", {}) if kind != "text/plain"]
            for cell in cells]  # fmt: skip


def test_its_outputs_are_committed_without_errors_and_tell_nothing_of_the_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from its beginning"
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert "<video" in cells[-1].outputs[0].data["text/html"]
    assert len(text) < 600_000  # bytes, which a page of a repository shows without waiting
    assert re.findall(r"(?:/home|/root|/tmp|/work|/Users|C:\\)[/\\][\w./\\-]+", text) == []


@pytest.mark.slow
@pytest.mark.long
def test_it_runs_from_raw_videos_to_a_dubbed_one(tmp_path, generator, expert):
    import nbclient

    notebook, work = nbformat.read(NOTEBOOK, as_version=4), tmp_path / "the notebook's"
    committed = shown(notebook)
    parameters = {"STEPS": 2, "GENERATOR": str(generator), "EXPERT": str(expert), "HPARAMS": QUICK, "WORK": str(work)}
    given = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items()))
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, given)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    del notebook.cells[place + 1]
    assert (work / "dubbed.mp4").stat().st_size > 10_000
    assert (work / "checkpoints" / "checkpoint_step000000002.pth").exists()
    assert shown(notebook) == committed
