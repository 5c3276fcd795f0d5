"""Sound that has no end yet, as it comes in."""

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import Any, NamedTuple

import av
import numpy as np

from media.opening import open_media, silence_ffmpeg
from media.sound import sound_stream
from utils.errors import InputError, flag_named, warn
from utils.files import existing_file

PIECE = 0.02  # seconds of sound that are passed on at once
LATEST = 0.1  # seconds by which sound may be late before silence takes its place
HURRY, FASTER = 0.5, 0.99  # sound that waits for fewer seconds is passed on in this part of its time
POLL = 0.01  # seconds between two looks at a growing file
PAUSES = (0.5, 10.0)  # seconds before the first try to open again what has broken off, doubled up to the second
BLOCKS = 500  # that are read ahead, at most
RAW_SOUND = (".raw", ".pcm", ".s16le")
WHOLE = (".mp4", ".m4a", ".m4v", ".mov")  # cannot be read while they grow
AT_ONCE = {"fflags": "nobuffer", "analyzeduration": "500000"}
FAILURES = (av.error.FFmpegError, OSError, ValueError, InputError)
DONE: Any = object()


class Piece(NamedTuple):
    """A piece of sound."""

    samples: np.ndarray  # float32 [n] in -1..1, mono
    due: float  # time.monotonic() at which its last sample is heard


def is_address(name: str) -> bool:
    """Of a stream that may break off and come back: a URL, or FORMAT:NAME of a recording device."""
    form, colon, _ = name.partition(":")
    return "://" in name or bool(colon and len(form) > 1 and form in av.formats_available)


def check_source(name: str) -> None:
    """Raises InputError for a file without sound."""
    if name == "-" or is_address(name):
        return
    path = existing_file(Path(name), "--audio")
    if path.suffix.lower() not in RAW_SOUND:
        with flag_named("--audio"), open_media(path) as container:
            sound_stream(container, path)


def may_come_back(name: str, error: Exception) -> bool:
    """Whether what has met this error is to be opened again."""
    return is_address(name) and isinstance(error, FAILURES) and not isinstance(error, av.error.ProtocolNotFoundError)


class LiveSound:
    """Sound from where it is recorded or made, read in a thread.

    source: "-" for 16-bit PCM at `rate` on standard input, a file that may still grow, or an address; realtime: no
    piece comes before it is heard, and silence where there is no sound; otherwise they come as fast as they are taken,
    those of a file up to its present end.
    """

    def __init__(self, source: str, rate: int, realtime: bool = True) -> None:
        self.source, self.rate, self.realtime = source, rate, realtime
        self._queue: Queue[tuple[float, Any]] = Queue(BLOCKS)
        threading.Thread(target=self._read, daemon=True).start()

    def pieces(self) -> Iterator[Piece]:
        """Raises what reading the file has met."""
        end, patience = monotonic(), PIECE
        while True:
            try:
                left = max(0.0, end + patience - monotonic())
                arrived, block = self._queue.get(timeout=left if self.realtime else None)
            except Empty:
                patience, missing = PIECE, int((monotonic() - end) * self.rate)
                end += missing / self.rate
                yield Piece(np.zeros(missing, np.float32), end)
                continue
            if block is DONE:
                return
            if isinstance(block, Exception):
                raise block
            patience, size = LATEST, round(PIECE * self.rate) if self.realtime else len(block)
            for samples in (block[first : first + size] for first in range(0, len(block), size)):
                hurry = FASTER if end - arrived < HURRY else 1.0  # or one late packet would delay all that follow
                end = max(arrived, end + hurry * len(samples) / self.rate)
                if self.realtime:
                    time.sleep(max(0.0, end - monotonic()))
                yield Piece(samples, end if self.realtime else monotonic())

    def _read(self) -> None:
        pause = PAUSES[0]
        while True:
            error: Exception | None = None
            try:
                for block in self._blocks():
                    self._queue.put((monotonic(), block))
                    pause = PAUSES[0]
            except Exception as met:
                error = met
            if not may_come_back(self.source, error or OSError()):
                self._queue.put((0.0, error or DONE))
                return
            warn(f"--audio {self.source}: {error or 'has ended'}; trying again in {pause:g} s")
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    def _blocks(self) -> Iterator[np.ndarray]:
        """float32 [n] each, as they come."""
        source, suffix = self.source, Path(self.source).suffix.lower()
        if "://" in source:
            yield from self._decoded(source, options=AT_ONCE)
        elif is_address(source):
            os.environ.setdefault("ALSA_CONFIG_PATH", "/usr/share/alsa/alsa.conf")  # PyAV's own names another place
            yield from self._decoded(source.partition(":")[2], format=source.partition(":")[0])
        elif suffix in WHOLE:
            yield from self._decoded(source)
        else:
            given = source == "-"
            with open(0 if given else source, "rb", buffering=0, closefd=not given) as file:
                growing = _Growing(file, self.realtime and not given)
                length = {"ignore_length": "1"}  # a WAV file begins with it, but it is known at the end
                raw = given or suffix in RAW_SOUND
                yield from _samples(growing) if raw else self._decoded(growing, options=length)

    def _decoded(self, opened: Any, **how: Any) -> Iterator[np.ndarray]:
        silence_ffmpeg()
        with av.open(opened, **how) as container:
            if not container.streams.audio:
                raise InputError(f"--audio {self.source}: has no sound")
            resampler = av.AudioResampler("flt", "mono", self.rate)
            for frame in container.decode(container.streams.audio[0]):
                yield from (new.to_ndarray()[0] for new in resampler.resample(frame))


class _Growing:
    """A file that another program may still be writing. It is only read on, since it has no end to seek from."""

    def __init__(self, file: io.FileIO, wait: bool) -> None:
        self._file, self._wait = file, wait

    def read(self, size: int) -> bytes:
        while not (data := self._file.read(size)) and self._wait:
            time.sleep(POLL)
        return data


def _samples(file: _Growing) -> Iterator[np.ndarray]:
    rest = b""
    while data := file.read(4096):
        data = rest + data
        rest = data[len(data) // 2 * 2 :]
        yield np.frombuffer(data, "<i2", len(data) // 2) / np.float32(32768)
