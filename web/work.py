"""What the jobs of the page do, each with the stage's own function. What needs PyTorch is imported when a job runs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.files import write_json
from web.jobs import Control, Work
from web.site import Site

if TYPE_CHECKING:
    from dubbing import Options

DUB, RECORD, PAGE, FACES = "dub.mp4", "dub.mp4.json", "dub.mp4.html", "dub.mp4.faces.png"


def dub(site: Site, face: Path, audio: Path, options: "Options") -> Work:
    """The result: the record, with file names in place of the server's paths."""

    def work(control: Control) -> dict[str, Any]:
        site.check_length(face)
        site.check_length(audio)
        record = site.dubber(control, options).dub(face, audio, control.folder / DUB, control.progress)
        shown = without_paths(asdict(record))
        write_json(control.folder / RECORD, shown)
        return {"record": shown}

    return work


def without_paths(content: Any) -> Any:
    """The same with the server's paths cut down to names."""
    if isinstance(content, dict):
        return {name: without_paths(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    if isinstance(content, str) and Path(content).is_absolute():
        return Path(content).name
    return content
