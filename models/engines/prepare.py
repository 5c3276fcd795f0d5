"""Prepares weights for OpenVINO in a process of its own, so that the one that dubs stays small and without PyTorch.

    python -m models.engines.prepare '{"network": "encoders", "path": "expert.pth"}' FOLDER...

The first FOLDER that can be written gets what store.py reads, or about.json with an `error` alone. Started by store.py,
from the project's folder; it ends when stdin does, which store.py's process holds open.
"""

import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path


def main(wanted: dict, folders: list[Path]) -> None:
    """wanted: the `network`, a name of conversion.PREPARE, and that function's arguments."""
    from models.engines import store
    from utils.errors import InputError

    try:
        from models.engines.conversion import PREPARE

        models, about = PREPARE[wanted.pop("network")](Path(wanted.pop("path")), **wanted)
    except (InputError, OSError) as error:
        models, about = {}, {"error": str(error)}
    for folder in folders:
        try:
            return store.write(folder, models, about)
        except (OSError, RuntimeError):  # no room, in Python's and in OpenVINO's words
            shutil.rmtree(folder, ignore_errors=True)


def end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends both processes; one of them says so
    main(json.loads(sys.argv[1]), list(map(Path, sys.argv[2:])))
