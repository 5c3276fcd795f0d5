"""Pictures with their sound, sent while they are made."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any, NamedTuple

import av
import numpy as np

from media import yuv
from media.codecs import Encoding
from media.live_sound import DONE, FAILURES, PAUSES, POLL, may_come_back
from media.opening import is_dub, silence_ffmpeg, with_tag
from media.writer import TIME_BASE
from utils.errors import InputError, warn
from utils.files import creatable, writable_folder

WAITING, STALLED = 6, 500  # pictures, and sounds, that wait for the encoder at most
CLOSING = 0.7  # seconds in which what is not a file has to take what is left
SOUND_RATE, SOUND_BITS = 48_000, 96_000
FORMATS = {  # of FFmpeg, by the end of a file's name or the beginning of a URL
    ".ts": "mpegts", ".mp4": "mp4", ".mkv": "matroska", ".flv": "flv",
    "udp": "mpegts", "tcp": "mpegts", "srt": "mpegts", "rtp": "rtp_mpegts", "rtmp": "flv", "rtmps": "flv",
}  # fmt: skip
PICTURES = ("-", "camera")  # targets that take no sound
AT_ONCE = {"flush_packets": "1", "max_delay": "0"}  # nothing waits for more to send
OPTIONS = {  # an MP4 file can be played up to where it is
    "mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}, "mpegts": {"pes_payload_size": "0"},
}  # fmt: skip


def check_target(to: str, overwrite: bool) -> None:
    """Raises InputError for what cannot be written, or is a file that no dub made."""
    scheme, _, rest = to.partition("://")
    if to == "camera" and not find_spec("pyvirtualcam"):
        raise InputError("--out camera: pyvirtualcam is not installed; python -m pip install pyvirtualcam")
    if to in PICTURES or (rest and scheme in FORMATS):
        return
    path = Path(to)
    if rest or path.suffix.lower() not in FORMATS:
        raise InputError(f"--out {to}: give -, camera, or a file or URL of these kinds: {', '.join(FORMATS)}")
    writable_folder(creatable(path, "--out").parent, "--out")
    if path.exists() and not overwrite and not is_dub(path):
        raise InputError(f"--out {to}: exists and is not by this program; choose another name, or give --overwrite")


class LiveFrame(NamedTuple):
    """A picture, and the sound up to the next."""

    picture: av.VideoFrame | None  # planar YUV of even sides; None where it was dropped
    time: float  # seconds from the start of the stream
    samples: np.ndarray  # float32 [n]
    due: float  # time.monotonic() at which the sound of its time was heard


class LiveWriter:
    """Encodes and sends in a thread, as a context manager. Where that takes too long pictures are dropped, never sound.

    to: a file, a URL, "-" for pictures as BGR24 on standard output, or "camera" for a virtual one. A URL that breaks
    off is opened again. dropped: pictures; sent: called with what has been sent.
    """

    def __init__(
        self, to: str, rate: Fraction, sound_rate: int, encoding: Encoding, sent: Callable[[LiveFrame], None]
    ) -> None:
        self.to, self.rate, self.sound_rate, self.encoding, self.sent = to, rate, sound_rate, encoding, sent
        self.dropped, self._error = 0, list[Exception]()
        self._queue: Queue[LiveFrame] = Queue()
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def __enter__(self) -> "LiveWriter":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._queue.put(DONE)
        self._thread.join(CLOSING if "://" in self.to or self.to in PICTURES else None)
        if self._error and error[0] is None:
            raise self._error[0]

    def put(self, frame: LiveFrame, wait: bool = False) -> None:
        """wait: for the encoder, rather than to drop a picture. Raises what sending has met."""
        while wait and self._queue.qsize() >= WAITING and not self._error:
            time.sleep(POLL)
        if self._error:
            raise self._error[0]
        waiting = self._queue.qsize()
        if frame.picture is not None and waiting >= WAITING:
            frame, self.dropped = frame._replace(picture=None), self.dropped + 1
        if waiting < STALLED:
            self._queue.put(frame)

    def _send_all(self) -> None:
        target: Any = None
        pause, opened, again = PAUSES[0] / 2, 0.0, 0.0
        while (frame := self._queue.get()) is not DONE:
            if target is None and (frame.picture is None or monotonic() < again):
                continue
            try:
                if target is None:
                    target, opened = (_Pictures if self.to in PICTURES else _Container)(self, frame), monotonic()
                target.send(frame)
                self.sent(frame)
            except Exception as error:
                if not may_come_back(self.to, error):
                    self._error.append(error)
                    break
                held = target is not None and monotonic() - opened > PAUSES[1]
                pause = PAUSES[0] if held else min(2 * pause, PAUSES[1])
                warn(f"--out {self.to}: {error}; trying again in {pause:g} s")
                again = monotonic() + pause
                if target:
                    with suppress(*FAILURES):
                        target.close()
                target = None
        try:
            if target:
                target.close()
        except FAILURES as error:
            if not may_come_back(self.to, error):
                self._error.append(error)


class _Container:
    """A file or a URL, written by FFmpeg; the first frame is at time 0."""

    def __init__(self, writer: LiveWriter, frame: LiveFrame) -> None:
        silence_ffmpeg()
        encoding, to = writer.encoding, writer.to
        picture: Any = frame.picture
        form = FORMATS[to.partition("://")[0] if "://" in to else Path(to).suffix.lower()]
        self.container: Any = av.open(to, "w", form, options=AT_ONCE | OPTIONS.get(form, {}))
        self.container.metadata.update(with_tag({}))
        options = {"tune": "zerolatency", **encoding.options}
        video: Any = self.container.add_stream(encoding.encoder, rate=writer.rate, options=options)
        video.width, video.height, video.pix_fmt = picture.width, picture.height, encoding.pix_fmt
        context = video.codec_context
        context.time_base, context.gop_size, context.max_b_frames = TIME_BASE, round(writer.rate), 0
        context.color_range, context.colorspace = picture.color_range, picture.colorspace
        context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc
        self.video = video
        self.sound: Any = self.container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self.sound.bit_rate = SOUND_BITS
        self.start, self.rate, self.samples = frame.time, writer.sound_rate, 0

    def send(self, frame: LiveFrame) -> None:
        if (picture := frame.picture) is not None:
            picture.pts, picture.time_base = round((frame.time - self.start) / TIME_BASE), TIME_BASE
            self.container.mux(self.video.encode(picture))
        if len(frame.samples):
            sound = av.AudioFrame.from_ndarray(frame.samples[None], "flt", "mono")
            sound.rate, sound.pts, sound.time_base = self.rate, self.samples, Fraction(1, self.rate)
            self.samples += len(frame.samples)
            packets = self.sound.encode(sound)
            self.container.mux([packet for packet in packets if packet.pts >= 0])  # what is earlier is no sound yet

    def close(self) -> None:
        with self.container:
            for stream in (self.video, self.sound):
                self.container.mux(stream.encode(None))


class _Pictures:
    """Pictures alone, for another program."""

    def __init__(self, writer: LiveWriter, frame: LiveFrame) -> None:
        if writer.to == "-":
            self.file = open(1, "wb", closefd=False)  # noqa: SIM115
            self.write, self.close = self.file.write, self.file.flush
            return
        package: Any = import_module("pyvirtualcam")
        picture: Any = frame.picture
        camera = package.Camera(picture.width, picture.height, float(writer.rate), fmt=package.PixelFormat.BGR)
        self.write, self.close = camera.send, camera.close

    def send(self, frame: LiveFrame) -> None:
        if frame.picture is not None:
            picture: Any = yuv.to_bgr(frame.picture, exact=False)
            self.write(picture)
