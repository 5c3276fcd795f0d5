"""Weights on disk that a visitor may choose, by the label that says what they are."""

from pathlib import Path

from models.published import BUNDLED, PUBLISHED, ROOT

CHECKPOINTS = ROOT / "checkpoints"
BEST = "the best that is there"


def generators() -> dict[str, str]:
    """Label -> path; an empty path for the choice that a dub makes by itself."""
    known = [file for file in (*PUBLISHED, *BUNDLED) if file.note.startswith("generator") and file.path.exists()]
    found = {f"{file.path.name} ({file.licence})": str(file.path) for file in known}
    return {BEST: ""} | found | _of_runs("best.pth")


def refiners() -> dict[str, str]:
    """Label -> what --refine takes."""
    return {"auto": "auto", "off": "off"} | _of_runs("person.safetensors")


def _of_runs(name: str) -> dict[str, str]:
    """Files of this name in the folders of trainings."""
    paths = sorted(CHECKPOINTS.glob(f"**/{name}"))
    return {_label(path): str(path) for path in paths}


def _label(path: Path) -> str:
    return path.relative_to(CHECKPOINTS).as_posix()
