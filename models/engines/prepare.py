"""Prepares weights for OpenVINO in a process of its own, so that the one that dubs stays small and without PyTorch.

    python -m models.engines.prepare FOLDER '{"network": "encoders", "path": "expert.pth"}'

FOLDER gets what store.py reads, or about.json with an `error` alone. Started by store.py, from the project's folder; it
ends when stdin does, which store.py's process holds open.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path


def main(folder: Path, wanted: dict) -> None:
    """wanted: the `network`, a name of conversion.PREPARE, and that function's arguments."""
    from models.engines import store
    from utils.errors import InputError

    try:
        from models.engines.conversion import PREPARE

        models, about = PREPARE[wanted.pop("network")](Path(wanted.pop("path")), **wanted)
        store.write(folder, models, about)
    except (InputError, OSError) as error:
        store.write(folder, {}, {"error": str(error)})


def end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends both processes; one of them says so
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
