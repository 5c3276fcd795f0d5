"""Work in stages, each in its own folder: a finished stage is not repeated, an unfinished one resumes there."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from utils.files import read_json, write_json

NOTE = "stage.json"  # in the folder of a stage: what it is made from, how long it took, what came of it


class Stage(NamedTuple):
    """folder: where it worked; seconds: how long, over all parts; result: what it returned, of values that JSON has."""

    folder: Path
    seconds: float
    result: dict[str, Any]


def run_stage(
    outdir: Path, name: str, inputs: dict[str, Any], limits: dict[str, float], work: Callable[[Path], dict[str, Any]]
) -> Stage:
    """Do the work in its folder, unless it is finished there.

    inputs: all that the result depends on; other inputs start the work again in a new folder. limits: how far the work
    goes; it resumes where one is raised. work: folder -> result; after an interruption it is called again.
    """
    folder, note = _folder(outdir, name, inputs)
    print(f"\n== {name}: {folder}", flush=True)
    reached = note.get("limits", {})
    if "result" in note and all(limit <= reached.get(key, 0.0) for key, limit in limits.items()):
        print("finished before", flush=True)
        return Stage(folder, note["seconds"], note["result"])
    since, before = monotonic(), note["seconds"]
    try:
        note["result"] = work(folder)
        note["limits"] = limits
    finally:
        note["seconds"] = before + monotonic() - since
        write_json(folder / NOTE, note)
    return Stage(folder, note["seconds"], note["result"])


def _folder(outdir: Path, name: str, inputs: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The stage's folder and its note, of which those of other inputs keep theirs."""
    for number in count(1):
        folder = outdir / (name if number == 1 else f"{name}_{number}")
        path = folder / NOTE
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            note = {"inputs": inputs, "seconds": 0.0}
            write_json(path, note)
            return folder, note
        note = read_json(path, f"delete the folder {folder} to do it again")
        if note["inputs"] == inputs:
            return folder, note
    raise AssertionError("folders are counted without end")
