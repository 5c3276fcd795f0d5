"""Dubbing: a video or a picture, and speech, into a video.

from dubbing import Dubber, Options
record = Dubber(Options(pads=(0, 20, 0, 0))).dub("talk.mp4", "speech.wav", "out.mp4")
record.sync["offset"]   # frames by which the sound is late
"""

from typing import TYPE_CHECKING

from dubbing.options import Options
from utils.lazy import lazily

if TYPE_CHECKING:
    from dubbing.dubber import Dubber
    from dubbing.record import Record

__all__ = ["Dubber", "Options", "Record"]

__getattr__ = lazily(__name__, {"Dubber": "dubbing.dubber", "Record": "dubbing.record"})
