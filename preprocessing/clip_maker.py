"""One video -> one clip folder: faces as <frame>.jpg, audio.wav, clip.json.

    pass 1   decode, find faces in all frames, detect cuts; hold the pictures while they fit into HELD_BYTES
    track    which face is the person is only known now
    pass 2   cut the face out of the held pictures, or of the video decoded again

Runs in the worker processes of run.py. PyTorch, which takes seconds to import and half a gigabyte, is only imported
for S3FD.
"""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

import audio
from data.clip import RECORD, Clip, ClipRecord, read_record
from face_detection import build_detector
from face_detection.crop import LONGEST_SIDE, NO_PADS, pad_and_clip, unscaled
from face_detection.find import CutFinder, detect_sparsely, lying_faces, several_people
from face_detection.track import Track, follow_face
from hparams import HParams
from media import yuv
from media.opening import is_tagged
from media.reader import VideoReader, at_rate, whole
from media.sound import read_audio, sound_clock
from preprocessing import PreprocessingOptions
from utils.errors import InputError
from utils.files import delete_unfinished, temporary_folder
from utils.process import STOP_SIGNALS

FORMAT = 3  # of a clip folder; a change makes all clips again
HELD_BYTES = 256 << 20  # of decoded pictures: 3 s of 1080p, 25 s of 360p
CLIP_FILES = {"audio.wav", RECORD, "faces.npy", "mel.npy", "cache.json", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Job:
    """One video that becomes one clip."""

    video: Path
    clip: str  # <group>/<clip>
    detector: str
    options: PreprocessingOptions
    hp: HParams

    @property
    def folder(self) -> Path:
        return self.options.preprocessed_root / self.clip

    def origin(self) -> dict:
        """What the clip is made from; a finished clip with the same origin is left as it is."""
        stat = self.video.stat()
        settings = {"format": FORMAT, "fps": self.hp.fps, "sample_rate": self.hp.sample_rate, "detector": self.detector}
        streams = {"audio_stream": self.options.audio_stream, "video_stream": self.options.video_stream}
        chosen = {name: number for name, number in streams.items() if number is not None}
        return {"source": self.video.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **settings, **chosen}

    def is_finished(self) -> bool:
        """Whether the clip is there; else it has to be made."""
        try:
            record = read_record(self.folder)
        except InputError:  # making the clip reports it
            return False
        return record.origin == self.origin() and (self.options.accept_dubs or not record.dub)


class ClipMaker:
    """Makes clips one after the other, with one detector. threads: for decoding and detection."""

    def __init__(self, detector: str, device: str, threads: int) -> None:
        self.detector, self.threads = build_detector(detector, device, threads), threads

    def make_clip(self, job: Job) -> ClipRecord:
        """The clip's record; if no clip can be made, it has only a problem."""
        try:
            return self._make_clip(job)
        except InputError as error:
            return ClipRecord(job.clip, str(error).removeprefix(f"{job.video}: "))
        except Exception as error:  # of a library, of CUDA, of the disk: only this clip fails
            return ClipRecord(job.clip, f"{type(error).__name__}: {error}")

    def _make_clip(self, job: Job) -> ClipRecord:
        check_place(job)
        reader = VideoReader(job.video, self.threads, video_stream=job.options.video_stream)
        if not reader.has_sound:
            raise InputError("has no sound track")
        if is_tagged(reader.metadata) and not job.options.accept_dubs:
            raise InputError("looks like output of this program; pass --accept_dubs to train on it anyway")
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(job.folder.parent) as part:
            record = self._fill(job, reader, part)
            record.write(part)
            if job.folder.exists():
                shutil.rmtree(job.folder)
            part.rename(job.folder)
        with suppress(InputError):  # the survey reports it
            Clip(job.folder, job.hp)  # makes the arrays that survey and training read
        return record

    def _fill(self, job: Job, reader: VideoReader, part: Path) -> ClipRecord:
        """Write faces and sound into the folder `part`; returns the clip's record."""
        detections, cuts, held = self._find_faces(job, reader)
        damaged = reader.damaged_packets  # now, since decoding again counts again and may end earlier
        track = follow_face(detections, cuts=cuts)
        heights = self._cut_faces(track, held or whole_pictures(reader, job.hp.fps), part)
        if not heights:
            others = f"; it has {reader.videos} videos (--video_stream)" if reader.videos > 1 else ""
            raise InputError(f"no face found{others}")
        clock = reader.clock
        if job.options.audio_stream is not None:
            clock = sound_clock(job.video, job.options.audio_stream)
        heard: list[str] = []
        start = reader.start - reader.clock.zero + clock.sound_zero
        sound_seconds = write_sound(job, start, len(track.found), part / "audio.wav", heard)
        return ClipRecord(
            clip=job.clip,
            origin=job.origin(),
            fps_in=round(float(reader.rate), 3),
            start=round(reader.start, 6),
            damaged_packets=damaged,
            dub=is_tagged(reader.metadata),
            findings=[*reader.findings, *clock.findings, *heard],
            frames=len(track.found),
            seconds=round(len(track.found) / job.hp.fps, 3),
            faces=len(heights),
            interpolated=int(track.interpolated.sum()),
            face_height=int(np.median(heights)),
            on_side=round(lying_faces(detections), 3),
            several_people=round(several_people(detections), 3),
            cuts=cuts,
            sound_seconds=round(sound_seconds, 3),
        )

    def _find_faces(self, job: Job, reader: VideoReader) -> tuple[list[np.ndarray], list[int], list[av.VideoFrame]]:
        """Detections in every frame of the video, the numbers of frames that begin a new shot, and the pictures, if
        they fit into HELD_BYTES."""
        held: list[av.VideoFrame] = []
        cut_finder, reformatter, scale, free = CutFinder(), VideoReformatter(), 1.0, HELD_BYTES

        def reduced() -> Iterator[np.ndarray]:
            nonlocal scale, free
            for picture in cut_finder.watch(whole_pictures(reader, job.hp.fps)):
                free -= sum(plane.buffer_size for plane in picture.planes)
                if free >= 0:
                    held.append(picture)
                else:
                    held.clear()
                image, scale = yuv.reduced_bgr(picture, LONGEST_SIDE, reformatter)
                yield image

        found = detect_sparsely(reduced(), self.detector, job.options.batch_size, closely=True)
        detections = [unscaled(boxes, scale) for boxes in found]
        return detections, cut_finder.cuts(), held

    def _cut_faces(self, track: Track, pictures: Iterable[av.VideoFrame], part: Path) -> list[int]:
        """Write the face of every frame that has one; returns their heights."""
        heights = []
        last = int(np.flatnonzero(track.found).max(initial=-1))
        for number, picture in zip(range(last + 1), pictures, strict=False):
            rect = pad_and_clip(track.boxes[number], NO_PADS, picture.height, picture.width)
            if track.found[number] and rect.usable:
                _, encoded = cv2.imencode(".jpg", yuv.cut_bgr(picture, rect))
                (part / f"{number}.jpg").write_bytes(encoded.tobytes())  # cv2.imwrite fails on some names on Windows
                heights.append(rect.height)
        return heights


def whole_pictures(reader: VideoReader, fps: int) -> Iterator[av.VideoFrame]:
    """The video's pictures at a constant rate."""
    return (whole(picture) for _, picture in at_rate(reader.pictures(), fps))


def check_place(job: Job) -> None:
    """Raises InputError if the clip's folder would lie inside another clip's, or holds anything but this clip, and what
    a crash or a file manager may have left there."""
    for folder in list(job.folder.parents)[: job.clip.count("/")]:
        if (folder / "audio.wav").exists():
            raise InputError(f"{job.folder}: would lie inside the clip {folder}; rename that clip's video or folder")
    found = [*job.folder.iterdir()] if job.folder.exists() else []
    if found and read_record(job.folder).origin is None:
        raise InputError(f"{job.folder}: was not made by preprocess.py; move it elsewhere")
    for path in found:
        picture = path.suffix == ".jpg" and path.stem.isdecimal()
        if path.is_dir() or not (picture or path.name in CLIP_FILES or path.match(".*.part.*")):
            raise InputError(f"{path}: does not belong to the clip in this folder; move it elsewhere")


def write_sound(job: Job, start: float, frames: int, path: Path, findings: list[str]) -> float:
    """Write the sound from time stamp `start` on for as long as the frames last, padded with silence; returns its
    length before that, in seconds. Adds what is unusual about it to findings."""
    rate, seconds = job.hp.sample_rate, frames / job.hp.fps
    wav = read_audio(job.video, rate, start, job.options.audio_stream, findings, seconds)
    audio.save_wav(np.pad(wav, (0, round(seconds * rate) - len(wav))), path, rate)
    return len(wav) / rate


_settings: tuple[str, str, int]  # of this worker process: ClipMaker's; a pool gives its functions no other place


def start_worker(detector: str, devices: Any, threads: int) -> None:
    """Prepare a worker process. devices: a queue with a device for each worker."""
    global _settings
    for number in STOP_SIGNALS:  # the main process gets Ctrl-C, and ends its workers by SIGTERM
        signal.signal(number, _leave if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(threads)
    _settings = detector, devices.get(), threads


def _leave(*_: Any) -> None:
    """End this worker at once, without its unfinished clip."""
    delete_unfinished()
    os._exit(1)  # sys.exit would wait for the main process, or print a traceback


def _leave_with_parent() -> None:
    """End this worker when the main process ends, however it does; a pool's worker would wait for jobs for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        _leave()


@cache
def _clip_maker() -> ClipMaker:
    try:
        return ClipMaker(*_settings)
    except Exception as error:  # of CUDA, of a library
        raise InputError(f"a worker on {_settings[1]} cannot start: {type(error).__name__}: {error}") from error


def work(job: Job) -> ClipRecord:
    """Make a clip in a worker process."""
    return _clip_maker().make_clip(job)
