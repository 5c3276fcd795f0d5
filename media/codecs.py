"""Which encoder writes a video, which pictures it takes, its settings; the HDR metadata that it writes again."""

import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from media.formats import CODECS, CONTAINERS, SUFFIXES
from media.opening import add_notice
from media.yuv import has_alpha
from utils.errors import InputError

EIGHT_BITS = 8
HARDWARE_CRF = 20  # without it these encoders aim at a low bit rate
HARDWARE_QUALITY = {  # how encoders in hardware are told the quality, by the end of their names
    "_nvenc": "cq", "_qsv": "global_quality", "_amf": "qvbr_quality_level", "_videotoolbox": "q:v", "_mf": "quality",
}  # fmt: skip
LOST_METADATA = {"DOVI_RPU_BUFFER": "Dolby Vision layer lost", "DYNAMIC_HDR_PLUS": "HDR10+ data lost"}
HDR_OPTIONS = {  # by encoder: the option, its keys of display and light, how many of its units are 1 and 1 cd/m²
    "libx265": ("x265-params", "master-display", "max-cll", 50_000, 10_000),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", 0, 0),
}


@dataclass(frozen=True)
class Encoding:
    encoder: str  # its name in FFmpeg
    pix_fmt: str  # of the pictures: planar YUV
    options: dict = field(default_factory=dict)  # for FFmpeg
    tag: str | None = None  # of the stream, where players look for one
    limited: bool = False  # full range cannot be written
    layout: str | None = None  # pixel format that the encoder takes, where that is not pix_fmt


def choose(
    name: str, suffix: str, source_format: str = "yuv420p", crf: int | None = None, preset: str | None = None
) -> Encoding:
    """The encoding for --codec `name` in a file that ends in `suffix`.

    "auto" is H.264, in .webm AV1 or for pictures with alpha VP9, and HEVC where source_format (of FFmpeg) has more than
    8 bits. A name that is not in CODECS is taken for one of FFmpeg's encoders, such as h264_nvenc. Alpha is kept where
    the codec can. Raises InputError for what does not fit.
    """
    suffix = suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"--outfile: cannot write {suffix or 'a file without suffix'}; use {', '.join(SUFFIXES)}")
    source = av.VideoFormat(source_format)
    deep = max(component.bits for component in source.components) > EIGHT_BITS
    alpha = has_alpha(source_format)
    if name == "auto":
        webm = "vp9" if alpha else "av1"
        name = webm if suffix == ".webm" else "hevc" if deep else "h264"
    if name not in CODECS:
        return _other(name, suffix, crf, preset)
    codec = CODECS[name]
    if suffix not in codec.suffixes:
        raise InputError(f"--codec {name}: does not go into {suffix} files; use {', '.join(codec.suffixes)}")
    if codec.crf is not None and crf is not None and crf > codec.worst_crf:
        raise InputError(f"--crf {crf}: leaves nothing to see in {name}; give at most {codec.worst_crf}")
    options = dict(codec.options)
    for flag, default, given in (("crf", codec.crf, crf), ("preset", codec.preset, preset)):
        if default is not None:
            options[flag] = str(default if given is None else given)
        elif given is not None:
            raise InputError(f"--codec {name}: has no --{flag}")
    pix_fmt = codec.pix_fmts[deep]
    if name == "ffv1":
        pix_fmt = _lossless_format(source, deep, alpha)
    elif alpha and codec.with_alpha:
        pix_fmt, options = codec.with_alpha[0], options | codec.with_alpha[1]
    tag = "hvc1" if name == "hevc" and suffix != ".mkv" else None
    return Encoding(codec.encoder, pix_fmt, options, tag, limited=name == "prores")


def usual_suffix(name: str) -> str:
    """What a file of this --codec is called where the user does not say."""
    return CODECS[name].suffixes[0] if name in CODECS else ".mp4"


def _lossless_format(source: av.VideoFormat, deep: bool, alpha: bool) -> str:
    """Planar YUV that holds what the source holds."""
    chroma = "444" if source.is_rgb else next((c for c in ("422", "444") if c in source.name), "420")
    bits = max(component.bits for component in source.components)
    return f"yuv{'a' * alpha}{chroma}p" + ("" if not deep else "10le" if bits <= 10 else "16le")


def _other(name: str, suffix: str, crf: int | None, preset: str | None) -> Encoding:
    try:
        encoder = av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        encoder = None
    if encoder is None or encoder.type != "video":
        raise InputError(f"--codec {name}: is not an encoder here; choose auto, {', '.join(CODECS)} or one of FFmpeg's")
    with av.open(io.BytesIO(), "w", CONTAINERS[suffix]) as trial:
        try:
            trial.add_stream(name, rate=25)
        except ValueError as error:
            raise InputError(f"--codec {name}: does not go into {suffix} files; try .mkv") from error
    formats = [known.name for known in encoder.video_formats or ()]
    if formats and "yuv420p" not in formats and "nv12" not in formats:
        raise InputError(f"--codec {name}: takes no 8-bit 4:2:0 pictures; choose auto, {', '.join(CODECS)}")
    in_hardware = next((key for end, key in HARDWARE_QUALITY.items() if name.endswith(end)), None)
    if in_hardware and crf is None:
        crf = HARDWARE_CRF
    options = {} if crf is None else {in_hardware or "crf": str(crf)}
    options |= {} if preset is None else {"preset": preset}
    return Encoding(name, "yuv420p", options, layout=None if "yuv420p" in formats or not formats else "nv12")


@dataclass(frozen=True)
class HdrMetadata:
    """The display that HDR video was made on. None: not stated."""

    display: tuple[Fraction, ...] | None  # x, y of red, green, blue and white; least and greatest luminance, cd/m²
    light: tuple[int, int] | None  # greatest level of a pixel and of a frame's average, cd/m²

    def options(self, encoder: str) -> dict[str, str]:
        """Options with which the encoder writes this metadata; empty where it cannot."""
        option, display, light, colour_unit, light_unit = HDR_OPTIONS.get(encoder, ("", "", "", 0, 0))
        given = []
        if option and self.display:
            colours, lights = (self.display[:8], colour_unit), (self.display[8:], light_unit)
            texts = [
                str(round(value * unit)) if unit else f"{float(value):.5f}"
                for values, unit in (colours, lights) for value in values
            ]  # fmt: skip
            given.append(f"{display}=" + "G({2},{3})B({4},{5})R({0},{1})WP({6},{7})L({9},{8})".format(*texts))
        if option and self.light:
            given.append("{}={},{}".format(light, *self.light))
        return {option: ":".join(given)} if given else {}


def hdr_metadata(picture: Any, findings: list[str]) -> HdrMetadata | None:
    """The HDR metadata of a decoded picture, if it has any. findings: what cannot be written again is added."""
    add_notice(findings, *(phrase for kind, phrase in LOST_METADATA.items() if _side_data(picture, kind)))
    mastering = _side_data(picture, "MASTERING_DISPLAY_METADATA")
    light = _side_data(picture, "CONTENT_LIGHT_LEVEL")
    if not mastering and not light:
        return None
    display = None
    if mastering:  # AVMasteringDisplayMetadata: ten pairs of numerator and denominator, then two flags
        numbers = np.frombuffer(mastering, np.int32).tolist()
        values = tuple(Fraction(numbers[i], numbers[i + 1] or 1) for i in range(0, 20, 2))
        display = values if all(numbers[20:22]) else None
    return HdrMetadata(display, tuple(np.frombuffer(light, np.uint32).tolist()[:2]) if light else None)


def _side_data(picture: Any, kind: str) -> bytes:
    try:
        return bytes(picture.side_data[kind])
    except (KeyError, ValueError):  # ValueError: PyAV meets a kind of side data that it does not know
        return b""
