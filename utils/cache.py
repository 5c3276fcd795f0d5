"""What is worked out once and kept: folders below the user's cache folder."""

import os
from pathlib import Path

FOLDER = "WAV2LIP_CACHE"  # environment variable that names another folder


def cache_folder(kind: str) -> Path:
    """The folder for one kind of what is kept; it need not be there yet."""
    import platformdirs

    named = os.environ.get(FOLDER)
    return Path(named or platformdirs.user_cache_dir("wav2lip", appauthor=False)) / kind
