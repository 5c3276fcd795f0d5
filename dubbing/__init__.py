"""Dubbing: a video or a picture, and speech, into a video.

from dubbing import Dubber, Options
record = Dubber(Options(pads=(0, 20, 0, 0))).dub("talk.mp4", "speech.wav", "out.mp4")
record.sync.offset   # frames by which the sound is late
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dubbing.options import Options

if TYPE_CHECKING:
    from dubbing.dubber import Dubber
    from dubbing.record import Record

__all__ = ["Dubber", "Options", "Record"]

MODULES = {"Dubber": "dubbing.dubber", "Record": "dubbing.record"}  # options come without what dubs need


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
