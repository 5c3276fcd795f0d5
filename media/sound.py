"""Sound of any media file: as samples, and as packets for another file.

speech = read_audio("talk.mkv", 16000)   # float32 mono
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.reader import TIME_JUMP, decode, open_media
from utils.errors import InputError

SOUND_GAP = 0.1  # seconds; larger holes between sound packets are filled with silence
FILE_START = float("-inf")  # as a start: the earliest time in the file
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


def read_audio(
    path: str | Path, sample_rate: int, start: float | None = None, stream_number: int | None = None
) -> np.ndarray:
    """The sound of any media file as float32 [samples] in -1..1, mono. See audio_blocks."""
    blocks = list(audio_blocks(path, sample_rate, start, stream_number))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def audio_blocks(
    path: str | Path, sample_rate: int, start: float | None = None, stream_number: int | None = None
) -> Iterator[np.ndarray]:
    """Sound in blocks of float32 [n], mono, of the stream with this number among the sound streams (None: the best).

    start: seconds on the file's clock at which the sound shall begin; silence is put before it, or its beginning left
    out, to make it so; FILE_START for where the file starts, sound or not. None begins with the first sample. Holes are
    filled with silence.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = sound_stream(container, path, stream_number)
        if start == FILE_START:
            start = audio_start(container)
        resampler: Any = None
        shape, skip = None, 0
        for hole, frame in with_holes(decode(container, stream)):
            if shape is None and start is not None and frame.time is not None:
                lead = round((frame.time - start) * sample_rate)
                skip = max(0, -lead)
                yield np.zeros(max(0, lead), np.float32)
            yield np.zeros(round(hole * sample_rate), np.float32)
            if shape != (frame.format.name, frame.layout.name, frame.sample_rate):  # may change on the way
                shape = frame.format.name, frame.layout.name, frame.sample_rate
                resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate)
            for out in resampler.resample(frame):
                block = out.to_ndarray()[0]
                yield block[skip:]
                skip -= min(skip, len(block))
        for out in resampler.resample(None) if resampler is not None else ():
            yield out.to_ndarray()[0][skip:]


def with_holes(frames: Iterable[Any]) -> Iterator[tuple[float, Any]]:
    """Decoded frames, each with the seconds that are missing before it in the time stamps."""
    expected = None
    for frame in frames:
        time, hole = frame.time, 0.0
        if expected is not None and time is not None and SOUND_GAP < time - expected < TIME_JUMP:
            hole = time - expected
        expected = (time if time is not None else expected or 0.0) + frame.samples / frame.sample_rate
        yield hole, frame


def sound_stream(container: Any, path: Path, number: int | None = None) -> Any:
    """The sound stream with this number among the sound streams, or the one that FFmpeg finds best."""
    streams = container.streams.audio
    if not streams:
        raise InputError(f"{path}: has no sound track")
    if number is not None and not 0 <= number < len(streams):
        raise InputError(f"{path}: has no sound track {number}; it has {len(streams)}, counted from 0")
    return streams[number] if number is not None else container.streams.best("audio")


def audio_start(container: Any) -> float:
    """The time that counts as 0 where a file gives the sound: its own start, in seconds on its clock."""
    return (container.start_time or 0) / av.time_base


def packets(
    container: Any, path: Path, suffix: str, stream_number: int | None = None, seconds: float | None = None
) -> Iterator[av.Packet]:
    """Packets of the sound of `path` for `container`, an output of this suffix (lower case), to which a stream is added
    first; the sound starts as long after time 0 as it starts in its own file. seconds: leave out what is later."""
    with open_media(path) as source:
        track = sound_stream(source, path, stream_number)
        zero = audio_start(source)
        if track.codec_context.codec.canonical_name in COPIED[suffix]:
            made = _copied(container, source, track, zero)
        else:
            made = _encoded(container, source, track, zero, suffix)
        for packet in made:
            if seconds is not None and packet.pts is not None and float(packet.pts * packet.time_base) >= seconds:
                return
            yield packet


def _copied(container: Any, source: Any, track: Any, zero: float) -> Iterator[av.Packet]:
    out = container.add_stream_from_template(track)
    shift = round(zero / track.time_base)
    for packet in source.demux(track):
        if packet.dts is None:  # the empty packet at the end
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = out
        yield packet


def _encoded(container: Any, source: Any, track: Any, zero: float, suffix: str) -> Iterator[av.Packet]:
    encoder, rate = ("libopus", OPUS_RATE) if suffix == ".webm" else ("aac", min(track.rate, AAC_MAX_RATE))
    layout = DEFAULT_LAYOUTS.get(track.channels, "stereo")
    out = container.add_stream(encoder, rate=rate, layout=layout)
    out.bit_rate = BIT_RATE
    resampler = av.AudioResampler(format="flt" if encoder == "libopus" else "fltp", layout=layout, rate=rate)
    samples = None
    for hole, decoded in chain(with_holes(decode(source, track)), [(0.0, None)]):
        if samples is None:
            samples = round((decoded.time - zero) * rate) if decoded is not None and decoded.time is not None else 0
        for frame in [*_silence(round(hole * rate), resampler), *resampler.resample(decoded)]:
            frame.pts, frame.time_base = samples, Fraction(1, rate)
            samples += frame.samples
            yield from out.encode(frame)
    yield from out.encode(None)


def _silence(samples: int, resampler: av.AudioResampler) -> list[av.AudioFrame]:
    """A silent frame as the resampler's are; none for no samples."""
    if not samples:
        return []
    frame = av.AudioFrame(resampler.format.name, resampler.layout.name, samples)
    frame.sample_rate = resampler.rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return [frame]
