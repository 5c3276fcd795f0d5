"""The sound of any media file: as samples, and as packets for another file.

speech = read_audio("talk.mkv", 16000)   # float32 mono
"""

import os
import wave
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import takewhile
from math import ceil, inf, log10
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.clock import BACK, MENTIONED, TIME_JUMP, Clock, can_be_decoded, counted, read_clock, sound_track
from media.formats import CONTAINERS, COPIED_SOUND
from media.opening import add_notice, open_media
from media.reader import PacketLog, decode
from utils.errors import InputError

HOLE = 0.01  # seconds: half of the shortest packet in common use (Opus, 20 ms), ten times what Matroska rounds to
MISSED = 0.015  # seconds; less missing sound is no finding: the stamps of Vorbis waver by 10 ms
# Of FFmpeg's aresample: fill holes, cut overlaps; channels that are mixed are averaged, as librosa does, not added up
RESAMPLING = {"async": "1", "min_hard_comp": str(HOLE), "rematrix_maxval": "1"}
SOUND_BLOCK = 1024  # samples
FULL_SCALE = 32767  # of 16-bit samples
HIGHEST_RATE = 48_000  # samples a second of encoded sound; the rate of Opus
BIT_RATE = 192_000
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; other counts are mixed down to stereo
CANCELLED = 0.25  # of the power that channels which have nothing in common leave when they are mixed


class SoundLog(PacketLog):
    """What is wrong with sound that was decoded."""

    holes, jumps = 0, 0  # of its time stamps
    missing = repeated = 0.0  # seconds of sound: in the holes, and stamped twice

    @property
    def findings(self) -> list[str]:
        """In short phrases."""
        found = []
        if self.holes:
            found.append(f"{counted(self.holes, 'hole')} in the sound, {self.missing:.1f} s")
        if self.repeated >= MENTIONED:
            found.append(f"overlapping sound, {self.repeated:.2f} s")
        if self.jumps:
            found.append(f"time stamps jump in {counted(self.jumps, 'place')}")
        if self.damaged:
            found.append(f"damaged packets in the sound: {self.damaged}")
        return found

    def watch(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Decoded frames, their stamps moved where these jump so far that they are damaged."""
        expected, shift = None, 0.0
        for frame in frames:
            if frame.time is not None:
                off = 0.0 if expected is None else frame.time + shift - expected
                if abs(off) >= TIME_JUMP:
                    shift, off, self.jumps = shift - off, 0.0, self.jumps + 1
                if off > MISSED:
                    self.holes, self.missing = self.holes + 1, self.missing + off
                if off < -MISSED:
                    self.repeated -= off
                if expected is None or abs(off) > MISSED:
                    expected = frame.time + shift
                if shift:
                    frame.pts += round(shift / frame.time_base)
            expected = (expected or 0.0) + frame.samples / frame.sample_rate
            yield frame


def read_audio(
    path: str | Path,
    sample_rate: int,
    start: float | None = None,
    stream_number: int | None = None,
    findings: list[str] | None = None,
    seconds: float | None = None,
) -> np.ndarray:
    """The sound of any media file as float32 [samples] in -1..1, mono, of the stream with this number among the sound
    streams (None: the one that is heard, media/clock.py: sound_track).

    start: the stamp in seconds at which the sound shall begin, such as its clock's sound_zero; silence is put before
    it, or its beginning left out, to make it so. None begins with the first sample. All that follows is where its time
    stamps say. findings: what is unusual about the sound is added to them; seconds: how much is wanted, None for all.
    """
    path, findings, log = Path(path), [] if findings is None else findings, SoundLog()
    channel = _channel(path, stream_number, findings)
    with open_media(path) as container:
        track = sound_stream(container, path, stream_number, findings)
        decoded = _of_channel(decode(container, track, log), channel)
        blocks, lead, end = list[np.ndarray](), 0, None if seconds is None else round(seconds * sample_rate)
        for frame in continuous(decoded, "flt", "mono", sample_rate, log, start):
            lead = lead if blocks else frame.pts
            blocks.append(frame.to_ndarray()[0])
            if end is not None and frame.pts + frame.samples >= end:
                break
    if not blocks:
        raise InputError(f"{path}: none of its sound can be decoded; it is damaged or truncated")
    add_notice(findings, *log.findings)
    return np.concatenate([np.zeros(max(0, lead), np.float32), *blocks])[max(0, -lead) :][:end]


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
    frame.rate = HIGHEST_RATE
    try:
        av.AudioResampler("flt", "mono", HIGHEST_RATE).resample(frame)
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


def continuous(
    frames: Iterable[Any],
    sample_format: str,
    layout: str,
    rate: int,
    log: SoundLog | None = None,
    start: float | None = None,
) -> Iterator[Any]:
    """Decoded frames in another format, without holes and overlaps: missing sound becomes silence, sound that is there
    twice is cut, as soon as it adds up to more than HOLE. So no sample is farther than HOLE from its time, and stamps
    that are rounded or waver by less change nothing.

    log: notes what was wrong; start: the stamp in seconds from which the new ones count, by default the first one.
    """
    resampler: Any = None
    shape, made, lead, first_time = None, 0, 0, 0.0

    def stamped(resampled: Iterable[Any]) -> Iterator[Any]:
        nonlocal made
        for out in resampled:
            out.pts, out.time_base = lead + made, Fraction(1, rate)
            made += out.samples
            yield out

    for frame in (log or SoundLog()).watch(frames):
        if shape is None and frame.time is not None:
            first_time, lead = frame.time, 0 if start is None else round((frame.time - start) * rate)
        if shape != (frame.format.name, frame.layout.name, frame.sample_rate):  # may change on the way
            options = RESAMPLING
            if resampler is not None:
                yield from stamped(resampler.resample(None))
                begin = round((first_time + made / rate) * frame.sample_rate)  # swresample counts input samples here
                options = RESAMPLING | {"first_pts": str(begin)}
            shape = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = av.AudioResampler(sample_format, layout, rate, SOUND_BLOCK, options)
        yield from stamped(resampler.resample(frame))
    if resampler is not None:
        yield from stamped(resampler.resample(None))


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


def sound_packets(
    container: Any, path: Path, suffix: str, stream_number: int | None = None, seconds: float = inf
) -> Iterator[av.Packet]:
    """Packets of the sound of `path` for `container`, an output of this suffix (lower case), to which a stream is added
    first; the sound starts as long after time 0 as it starts in its own file. seconds: leave out what is later."""
    zero = sound_clock(path, stream_number).sound_zero
    copied = _can_be_copied(path, suffix, stream_number, zero, seconds)
    with open_media(path) as source:
        track = sound_stream(source, path, stream_number)
        made = _copied(container, source, track, zero) if copied else _encoded(container, source, track, zero, suffix)
        yield from _before(seconds, made)


def mix(
    sounds: Sequence[tuple[Path, float]], seconds: float, folder: Path, stream_number: int | None = None
) -> tuple[Path, float]:
    """Write the sum of several files' sound as a WAV file into a folder, at their levels, or all lower where it would
    clip: the file, and by how many decibels. sounds: files, and the second from which each is heard; seconds: of the
    sum. On the disk, since it may be long."""
    summed = np.memmap(folder / "sum", np.float32, "w+", shape=(ceil(seconds * HIGHEST_RATE), 2))
    for path, begin in sounds:
        zero = sound_clock(path, stream_number).sound_zero
        with open_media(path) as source:
            track = sound_stream(source, path, stream_number)
            layout = "mono" if track.channels == 1 else "stereo"  # mono made stereo would be 3 dB lower
            decoded = _of_channel(decode(source, track), None if _can_be_mixed(track.codec_context.layout) else 0)
            for frame in continuous(decoded, "flt", layout, HIGHEST_RATE, start=zero - begin):
                samples = frame.to_ndarray().reshape(frame.samples, -1)[max(0, -frame.pts) :]
                place = summed[max(0, frame.pts) :][: len(samples)]
                place += samples[: len(place)]
    blocks = range(0, len(summed), HIGHEST_RATE)
    loudest = max(float(np.abs(summed[first : first + HIGHEST_RATE]).max()) for first in blocks)
    scale = FULL_SCALE / max(1.0, loudest)
    with wave.open(str(folder / "mix.wav"), "wb") as file:
        file.setparams((2, 2, HIGHEST_RATE, 0, "NONE", ""))
        for first in blocks:
            file.writeframes(np.rint(summed[first : first + HIGHEST_RATE] * scale).astype("<i2").tobytes())
    return folder / "mix.wav", 20 * log10(max(1.0, loudest))


def _before(seconds: float, made: Iterable[av.Packet]) -> Iterator[av.Packet]:
    return takewhile(lambda packet: packet.pts is None or packet.pts * packet.time_base < seconds, made)


def _can_be_copied(path: Path, suffix: str, stream_number: int | None, zero: float, seconds: float) -> bool:
    """Whether the sound's packets are whole and a file of this suffix takes them, found by writing them to the null
    device."""
    try:
        with open_media(path) as source, av.open(os.devnull, "w", format=CONTAINERS[suffix]) as trial:
            track = sound_stream(source, path, stream_number)
            if track.codec_context.codec.canonical_name not in COPIED_SOUND[suffix]:
                return False
            for packet in _before(seconds, _copied(trial, source, track, zero, whole=True)):
                trial.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _copied(container: Any, source: Any, track: Any, zero: float, whole: bool = False) -> Iterator[av.Packet]:
    """whole: raise ValueError, or av.error.FFmpegError, for a packet that is damaged, without a time, or far from the
    one before."""
    out = container.add_stream_from_template(track)
    shift, last = round(zero / track.time_base), None
    for packet in source.demux(track):
        if whole and packet.size:
            packet.decode()
            if packet.is_corrupt or packet.pts is None or packet.dts is None:
                raise ValueError("damaged")
            if last is not None and not -BACK < (packet.dts - last) * track.time_base < TIME_JUMP:
                raise ValueError("stamps start again")
            last = packet.dts
        if packet.dts is None:  # the empty packet at the end
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = out
        yield packet


def _encoded(container: Any, source: Any, track: Any, zero: float, suffix: str) -> Iterator[av.Packet]:
    encoder, rate = "libopus" if suffix == ".webm" else "aac", HIGHEST_RATE
    if encoder == "aac":  # at its lowest rate that keeps all of the sound
        rate = min((known for known in av.Codec(encoder, "w").audio_rates or () if known >= track.rate), default=rate)
    rate, layout = min(rate, HIGHEST_RATE), DEFAULT_LAYOUTS.get(track.channels, "stereo")
    out = container.add_stream(encoder, rate=rate, layout=layout)
    out.bit_rate = BIT_RATE
    decoded = _of_channel(decode(source, track), None if _can_be_mixed(track.codec_context.layout) else 0)
    for frame in continuous(decoded, "flt" if encoder == "libopus" else "fltp", layout, rate, start=zero):
        yield from out.encode(frame)
    yield from out.encode(None)
