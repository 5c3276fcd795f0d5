"""The three networks of the method, with the parameter names of the published weights.

They are imported when they are asked for: what is beside them, as in published.py, needs no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.discriminators import Wav2Lip_disc_qual
    from models.syncnet import SyncNet_color
    from models.wav2lip import Wav2Lip

__all__ = ["SyncNet_color", "Wav2Lip", "Wav2Lip_disc_qual"]

MODULES = {"SyncNet_color": "models.syncnet", "Wav2Lip": "models.wav2lip", "Wav2Lip_disc_qual": "models.discriminators"}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
