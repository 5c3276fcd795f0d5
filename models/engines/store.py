"""Models that were prepared for an engine, in the user's cache folder, found again by what they were made of."""

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.cache import cache_folder
from utils.errors import warn

FORMAT = 1  # of the folders and of what is in the models; a change forgets the old ones
PREPARING = threading.Lock()  # PyTorch traces one network at a time, whatever thread it is in
MODEL, WEIGHTS, ABOUT = "model.xml", "model.bin", "about.json"


def prepared(key: dict, prepare: Callable[[], tuple[Any, dict]]) -> tuple[Any, dict]:
    """The OpenVINO model for a key, and what is to be known of it: as kept, or from prepare(), and then kept. Where it
    cannot be, a warning says so."""
    from models.engines.openvino_engine import openvino

    ov = openvino()
    name = json.dumps([FORMAT, ov.get_version(), key], sort_keys=True)
    folder = cache_folder("engines") / hashlib.sha256(name.encode()).hexdigest()
    with PREPARING:
        about = _read(folder)
        if about is not None:
            return ov.Core().read_model(folder / MODEL), about
        model, about = prepare()
        try:
            _write(folder, model, about)
        except OSError as error:
            warn(
                f"{folder}: cannot keep the prepared weights ({error.strerror}); {key['weights'][:8]} is prepared anew"
            )
        return model, about


def _read(folder: Path) -> dict | None:
    """What is known of the model in a folder; None where there is none, or a damaged one."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return about if about.pop("files") == _hashes(folder) else None
    except (OSError, ValueError, KeyError):
        return None


def _write(folder: Path, model: Any, about: dict) -> None:
    """The folder appears with all its files or not at all."""
    from models.engines.openvino_engine import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        openvino().save_model(model, temporary / MODEL, compress_to_fp16=False)
        text = json.dumps(about | {"files": _hashes(temporary)}, indent=1)
        (temporary / ABOUT).write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or another process's just now
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, WEIGHTS)}
