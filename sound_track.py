"""The sound of one file into another: copied packet by packet where its codec fits, encoded anew elsewhere."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from video import audio_start, decode, open_media, sound_stream

AAC_MAX_RATE, OPUS_RATE = 48_000, 48_000
BIT_RATE = 192_000
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; other counts are mixed down to stereo
PCM = tuple(f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le"))
COPIED = {  # codecs that players expect in a file of this kind
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".m4v": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".mov": ("aac", "mp3", "ac3", "alac", *PCM),
    ".mkv": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "vorbis", *PCM),
    ".webm": ("opus", "vorbis"),
}


def packets(container, path: Path, suffix: str, stream_number: int | None = None,
            seconds: float | None = None) -> Iterator[av.Packet]:  # fmt: skip
    """Packets of the sound of `path` for `container`, an output whose name ends in `suffix`, to which a stream is added
    first; the sound starts as long after time 0 as it starts in its own file. seconds: leave out what is later."""
    with open_media(path) as source:
        track = sound_stream(source, path, stream_number)
        zero = audio_start(source)
        if track.codec_context.codec.canonical_name in COPIED[suffix.lower()]:
            made = _copied(container, source, track, zero)
        else:
            made = _encoded(container, source, track, zero, suffix)
        for packet in made:
            if seconds is not None and packet.pts is not None and float(packet.pts * packet.time_base) >= seconds:
                return
            yield packet


def _copied(container, source, track, zero: float) -> Iterator[av.Packet]:
    out = container.add_stream_from_template(track)
    shift = round(zero / track.time_base)
    for packet in source.demux(track):
        if packet.dts is None:  # the empty packet at the end
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = out
        yield packet


def _encoded(container, source, track, zero: float, suffix: str) -> Iterator[av.Packet]:
    encoder, rate = ("libopus", OPUS_RATE) if suffix == ".webm" else ("aac", min(track.rate, AAC_MAX_RATE))
    layout = DEFAULT_LAYOUTS.get(track.channels, "stereo")
    out = container.add_stream(encoder, rate=rate, layout=layout)
    out.bit_rate = BIT_RATE
    resampler = av.AudioResampler(format="flt" if encoder == "libopus" else "fltp", layout=layout, rate=rate)
    samples = None
    for decoded in chain(decode(source, track), [None]):
        if samples is None:
            samples = round((decoded.time - zero) * rate) if decoded is not None and decoded.time is not None else 0
        for frame in resampler.resample(decoded):
            frame.pts, frame.time_base = samples, Fraction(1, rate)
            samples += frame.samples
            yield from out.encode(frame)
    yield from out.encode(None)
