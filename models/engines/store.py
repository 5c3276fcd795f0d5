"""Models that were prepared for OpenVINO, in the user's cache folder, found again by what they were made of."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from utils.errors import InputError, warn
from utils.files import cache_folder, delete_leftovers, read_json, sha256, temporary_folder

FORMAT = 4  # of the folders and of what is in the models; a change forgets the old ones
PREPARING = threading.Lock()  # nothing is prepared twice at once
ROOT = Path(__file__).resolve().parents[2]
MEMORY = Path("/dev/shm")  # on Linux
ABOUT, SUFFIXES = "about.json", (".xml", ".bin")
SECONDS = 10, 30  # that it takes about, on two cores, in floating point and in int8


def prepared(network: str, path: Path, digest: str, **settings: Any) -> tuple[dict[str, Any], dict]:
    """The OpenVINO models of a network of conversion.PREPARE, by their names, and what is to be known of them: as kept,
    or prepared now, in another process, and then kept. Where they cannot be, a warning says so. Raises InputError for
    files that hold something else.

    digest: SHA-256 of the file; settings: what PREPARE's function takes besides the path.
    """
    from models.engines.openvino_engine import core, openvino

    processor = core().get_property("CPU", "FULL_DEVICE_NAME")
    name = json.dumps([FORMAT, openvino().get_version(), processor, network, digest, settings], sort_keys=True)
    folder = cache_folder("engines") / hashlib.sha256(name.encode()).hexdigest()
    delete_leftovers(folder.parent)
    with PREPARING:
        about = _read(folder)
        if about is not None:
            return _models(folder, about), about
        print(
            f"{path}: prepared for this machine, once (about {SECONDS[bool(settings.get('int8'))]} s) ...",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        with _places(folder.parent) as places:
            prepare({"network": network, "path": str(path.resolve()), **settings}, places)
            made, about = next(((place, about) for place in places if (about := _read(place))), (folder, None))
            if about is None:
                tried = ", ".join(str(place.parent.parent) for place in places)
                raise InputError(f"{path}: cannot be prepared for OpenVINO in {tried}: make room; or --engine torch")
            if "error" in about:
                raise InputError(about["error"])
            if made.parent.parent == folder.parent:
                made, about = _kept(made, folder, about)
            else:
                warn(f"{folder.parent}: cannot keep the prepared weights; {path.name} is prepared again by every run")
            return _models(made, about), about


def prepare(wanted: dict, folders: list[Path]) -> None:
    """Have another process write the first of the folders that it can (prepare.py). Raises InputError where it does not
    come to its end."""
    command = [sys.executable, "-m", "models.engines.prepare", json.dumps(wanted), *map(str, folders)]
    reading, writing = os.pipe()  # is closed with this process, however that ends, and then the other one ends, too
    try:
        code = subprocess.run(command, cwd=ROOT, stdin=reading, stdout=subprocess.DEVNULL).returncode
    finally:
        os.close(reading)
        os.close(writing)
    if code:
        raise InputError(f"{wanted['path']}: preparing it for OpenVINO failed ({code}); --engine torch does without")


def write(folder: Path, models: dict[str, Any], about: dict) -> None:
    """What _read reads. models: by their names."""
    from models.engines.openvino_engine import openvino

    folder.mkdir()
    for name, model in models.items():
        openvino().save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    text = json.dumps(about | {"files": _hashes(folder, list(models))}, indent=1)
    (folder / ABOUT).write_text(text, encoding="utf-8")


@contextmanager
def _places(parent: Path) -> Iterator[list[Path]]:
    """Where models may be written for now: below the folder that keeps them, else in the system's temporary one, else
    in memory."""
    with ExitStack() as held:
        places = []
        for find in (lambda: parent, lambda: Path(tempfile.gettempdir()), lambda: MEMORY.resolve(strict=True)):
            with suppress(OSError):  # read-only, or full
                find().mkdir(parents=True, exist_ok=True)
                places.append(held.enter_context(temporary_folder(find())) / "made")
        yield places


def _kept(made: Path, folder: Path, about: dict) -> tuple[Path, dict]:
    """What was made, under its final name; where another process was faster, what that one made: it has it in use."""
    if theirs := _read(folder):
        return folder, theirs
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one
    try:
        os.replace(made, folder)
    except OSError:  # there since just now, or damaged and in use on Windows: ours serves once
        return made, about
    return folder, about


def _read(folder: Path) -> dict | None:
    """What is known of the models in a folder; None where there are none, or damaged ones."""
    try:
        about = read_json(folder / ABOUT)
        hashes = about["files"]
        return about if hashes == _hashes(folder, list(hashes)) else None
    except (OSError, InputError, KeyError):
        return None


def _models(folder: Path, about: dict) -> dict[str, Any]:
    from models.engines.openvino_engine import core

    return {name: core().read_model(folder / f"{name}.xml") for name in about["files"]}


def _hashes(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """By the models' names."""
    return {name: [sha256(folder / f"{name}{suffix}") for suffix in SUFFIXES] for name in names}
