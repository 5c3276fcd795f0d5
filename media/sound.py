"""The sound of any media file: as samples, and as packets for another file.

speech = read_audio("talk.mkv", 16000)   # float32 mono
"""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.clock import HOLE, Clock, can_be_decoded, read_clock, sound_track
from media.files import add_notice, open_media
from media.formats import CONTAINERS
from media.reader import PacketLog, decode
from media.stamps import TIME_JUMP
from utils.errors import InputError

# Of FFmpeg's aresample: fill holes, cut overlaps; channels that are mixed are averaged, as librosa does, not added up
RESAMPLING = {"async": "1", "min_hard_comp": str(HOLE), "rematrix_maxval": "1"}
SOUND_BLOCK = 1024  # samples
AAC_RATES = (7350, 8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # of its encoder, up to 48 kHz
OPUS_RATE = 48_000
BIT_RATE = 192_000
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; other counts are mixed down to stereo
PCM = tuple(f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le"))
CANCELLED = 0.25  # of the power that channels which have nothing in common leave when they are mixed
COPIED = {  # codecs that players expect in a file of this kind
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".m4v": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".mov": ("aac", "mp3", "ac3", "alac", *PCM),
    ".mkv": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "vorbis", *PCM),
    ".webm": ("opus", "vorbis"),
}


def read_audio(
    path: str | Path,
    sample_rate: int,
    start: float | None = None,
    stream_number: int | None = None,
    findings: list[str] | None = None,
) -> np.ndarray:
    """The sound of any media file as float32 [samples] in -1..1, mono. See audio_blocks."""
    blocks = list(audio_blocks(path, sample_rate, start, stream_number, findings))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def audio_blocks(
    path: str | Path,
    sample_rate: int,
    start: float | None = None,
    stream_number: int | None = None,
    findings: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Sound in blocks of float32 [n], mono, of the stream with this number among the sound streams (None: the one that
    is heard, media/clock.py: sound_track).

    start: the stamp in seconds at which the sound shall begin, such as its clock's sound_zero; silence is put before
    it, or its beginning left out, to make it so. None begins with the first sample. All that follows is where its time
    stamps say (media/clock.py). findings: what is unusual about the sound is added to them.
    """
    path, findings = Path(path), [] if findings is None else findings
    channel = _channel(path, stream_number, findings)
    with open_media(path) as container:
        track, packets = sound_stream(container, path, stream_number, findings), PacketLog()
        decoded = _of_channel(decode(container, track, packets), channel)
        first = next(decoded, None)
        if first is None:
            raise InputError(f"{path}: none of its sound can be decoded; it is damaged or truncated")
        lead = 0 if start is None or first.time is None else round((first.time - start) * sample_rate)
        yield np.zeros(max(0, lead), np.float32)
        skip = max(0, -lead)
        try:
            for frame in continuous(chain([first], decoded), "flt", "mono", sample_rate):
                block = frame.to_ndarray()[0]
                yield block[skip:]
                skip -= min(skip, len(block))
        finally:  # also where no more is wanted
            add_notice(findings, *([f"damaged packets in the sound: {packets.damaged}"] if packets.damaged else []))


def _channel(path: Path, stream_number: int | None, findings: list[str]) -> int | None:
    """The only channel to be heard, where the channels cannot be mixed or cancel each other out; else None."""
    with open_media(path) as container:
        track = sound_stream(container, path, stream_number)
        layout = track.codec_context.layout
        if layout.nb_channels == 1:
            return None
        if not _can_be_mixed(layout):
            add_notice(findings, f"channel 0 of {layout.name} heard")
            return 0
        powers, mixed = np.zeros(layout.nb_channels), 0.0
        for frame in decode(container, track):
            samples = _samples(frame).astype(np.float32)
            if len(samples) == len(powers):
                powers += np.square(samples).sum(axis=1)
                mixed += float(np.square(samples.mean(axis=0)).sum())
    if not powers.any() or mixed >= CANCELLED * powers.sum() / len(powers) ** 2:
        return None
    add_notice(findings, f"channels cancel out, channel {powers.argmax()} heard")
    return int(powers.argmax())


def _can_be_mixed(layout: av.AudioLayout) -> bool:
    frame = av.AudioFrame("flt", layout, SOUND_BLOCK)
    frame.rate = OPUS_RATE
    try:
        av.AudioResampler("flt", "mono", OPUS_RATE).resample(frame)
    except av.error.FFmpegError:
        return False
    return True


def _of_channel(frames: Iterable[Any], channel: int | None) -> Iterator[Any]:
    """Decoded frames with one of their channels alone; None: with all."""
    for frame in frames:
        if channel is None or frame.layout.nb_channels <= channel:
            yield frame
            continue
        one = av.AudioFrame.from_ndarray(_samples(frame)[channel : channel + 1].copy(), frame.format.name, "mono")
        one.rate, one.pts, one.time_base = frame.sample_rate, frame.pts, frame.time_base
        yield one


def _samples(frame: Any) -> np.ndarray:
    """[channels, samples] of the frame's own type."""
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T


def continuous(frames: Iterable[Any], sample_format: str, layout: str, rate: int) -> Iterator[Any]:
    """Decoded frames in another format, without holes and overlaps: missing sound becomes silence, sound that is there
    twice is cut, as soon as it adds up to more than HOLE (media/clock.py)."""
    resampler: Any = None
    shape, made, first_time = None, 0, 0.0
    for frame in _without_jumps(frames):
        if shape is None:
            first_time = frame.time or 0.0
        if shape != (frame.format.name, frame.layout.name, frame.sample_rate):  # may change on the way
            options = RESAMPLING
            if resampler is not None:
                rest = resampler.resample(None)
                made += sum(out.samples for out in rest)
                yield from rest
                begin = round((first_time + made / rate) * frame.sample_rate)  # swresample counts input samples here
                options = RESAMPLING | {"first_pts": str(begin)}
            shape = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = av.AudioResampler(sample_format, layout, rate, SOUND_BLOCK, options)
        for out in resampler.resample(frame):
            made += out.samples
            yield out
    if resampler is not None:
        yield from resampler.resample(None)


def _without_jumps(frames: Iterable[Any]) -> Iterator[Any]:
    """Decoded frames, their stamps moved where these jump so far that they are damaged."""
    expected, shift = None, 0.0
    for frame in frames:
        if frame.time is not None:
            if expected is not None and abs(frame.time + shift - expected) >= TIME_JUMP:
                shift = expected - frame.time
            if shift:
                frame.pts += round(shift / frame.time_base)
            expected = frame.time
        expected = (expected or 0.0) + frame.samples / frame.sample_rate
        yield frame


def sound_clock(path: Path, stream_number: int | None = None) -> Clock:
    """The clock of any media file with sound."""
    with open_media(path) as container:
        return read_clock(container, sound_stream(container, path, stream_number))


def sound_stream(container: Any, path: Path, number: int | None = None, findings: list[str] | None = None) -> Any:
    """The sound stream with this number, from 0, or the one that is heard where none is asked for; findings: other
    streams are added. Raises InputError where it cannot be decoded."""
    streams = container.streams.audio
    if not streams:
        raise InputError(f"{path}: has no sound track; give a file with one")
    if number is not None and not 0 <= number < len(streams):
        raise InputError(f"{path}: has no sound track {number}; it has {len(streams)}, counted from 0")
    stream = streams[number] if number is not None else sound_track(container)
    if not can_be_decoded(stream):
        form = stream.codec_context.name if stream.codec_context else "unknown"
        raise InputError(f"{path}: its sound cannot be decoded here (codec: {form}); convert it to WAV")
    if number is None and len(streams) > 1 and findings is not None:
        chosen = streams.index(stream)
        name = f" ({stream.language})" if stream.language not in (None, "und") else ""
        add_notice(findings, f"sound track {chosen}{name} of {len(streams)} heard (--audio_stream chooses)")
    return stream


def packets(
    container: Any, path: Path, suffix: str, stream_number: int | None = None, seconds: float | None = None
) -> Iterator[av.Packet]:
    """Packets of the sound of `path` for `container`, an output of this suffix (lower case), to which a stream is added
    first; the sound starts as long after time 0 as it starts in its own file. seconds: leave out what is later."""
    clock = sound_clock(path, stream_number)
    in_order = clock.recordings == 1 and not clock.jumps
    copied = in_order and _can_be_copied(path, suffix, stream_number, clock.sound_zero, seconds)
    with open_media(path) as source:
        track = sound_stream(source, path, stream_number)
        make = _copied if copied else partial(_encoded, suffix=suffix)
        yield from _before(seconds, make(container, source, track, clock.sound_zero))


def _before(seconds: float | None, made: Iterable[av.Packet]) -> Iterator[av.Packet]:
    for packet in made:
        if seconds is not None and packet.pts is not None and float(packet.pts * packet.time_base) >= seconds:
            return
        yield packet


def _can_be_copied(path: Path, suffix: str, stream_number: int | None, zero: float, seconds: float | None) -> bool:
    """Whether the sound's packets are whole and a file of this suffix takes them, found by writing them to the null
    device."""
    try:
        with open_media(path) as source, av.open(os.devnull, "w", format=CONTAINERS[suffix]) as trial:
            track = sound_stream(source, path, stream_number)
            if track.codec_context.codec.canonical_name not in COPIED[suffix]:
                return False
            for packet in _before(seconds, _copied(trial, source, track, zero, whole=True)):
                trial.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _copied(container: Any, source: Any, track: Any, zero: float, whole: bool = False) -> Iterator[av.Packet]:
    """whole: raise ValueError, or av.error.FFmpegError, for a packet that is damaged or without a time."""
    out = container.add_stream_from_template(track)
    shift = round(zero / track.time_base)
    for packet in source.demux(track):
        if whole and packet.size:
            packet.decode()
            if packet.is_corrupt or packet.pts is None or packet.dts is None:
                raise ValueError("damaged")
        if packet.dts is None:  # the empty packet at the end
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = out
        yield packet


def _encoded(container: Any, source: Any, track: Any, zero: float, suffix: str) -> Iterator[av.Packet]:
    encoder, rate = ("libopus", OPUS_RATE) if suffix == ".webm" else ("aac", _aac_rate(track.rate))
    layout = DEFAULT_LAYOUTS.get(track.channels, "stereo")
    out = container.add_stream(encoder, rate=rate, layout=layout)
    out.bit_rate = BIT_RATE
    decoded = _of_channel(decode(source, track), None if _can_be_mixed(track.codec_context.layout) else 0)
    first = next(decoded, None)
    if first is None:
        return
    samples = round((first.time - zero) * rate) if first.time is not None else 0
    kind = "flt" if encoder == "libopus" else "fltp"
    for frame in continuous(chain([first], decoded), kind, layout, rate):
        frame.pts, frame.time_base = samples, Fraction(1, rate)
        samples += frame.samples
        yield from out.encode(frame)
    yield from out.encode(None)


def _aac_rate(rate: int) -> int:
    """The encoder's lowest rate that keeps all of the sound, or its highest."""
    return next((known for known in AAC_RATES if known >= rate), AAC_RATES[-1])
