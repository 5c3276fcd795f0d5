"""Decoding on a GPU through FFmpeg. H.264, HEVC, VP9 and AV1 say to the bit what a picture is, so that it is the one
that software decodes; what the GPU cannot decode is left to software. Encoders on GPUs are chosen by their names
(media/codecs.py)."""

from typing import Any

import av
from av.codec.hwaccel import HWAccel

from utils.errors import InputError

PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}  # formats of GPUs, and the same pixels plane by plane


def accelerator(decoder: str) -> HWAccel | None:
    """For av.open; None in software. decoder: of media.choices.DECODERS. Raises InputError where there is none."""
    if decoder == "software":
        return None
    try:
        HWAccel(decoder).create(av.Codec("h264", "r"))
    except (av.error.FFmpegError, RuntimeError, ValueError) as error:
        raise InputError(f"--decoder {decoder}: does not work here ({error}); use software") from error
    return HWAccel(decoder)


def planar(picture: Any) -> Any:
    """A picture of a GPU as one decoded in software; another as it is."""
    name = PLANAR.get(picture.format.name)
    return picture.reformat(format=name) if name else picture
