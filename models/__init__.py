"""The three networks of the method, with the parameter names of the published weights.

They are imported when they are asked for: what is beside them, published.py and download.py, needs no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.syncnet import SyncNet_color
    from models.wav2lip import Wav2Lip, Wav2Lip_disc_qual

__all__ = ["SyncNet_color", "Wav2Lip", "Wav2Lip_disc_qual"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("models.syncnet" if name == "SyncNet_color" else "models.wav2lip"), name)
