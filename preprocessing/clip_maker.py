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
from typing import Any, TypeVar

import av
import cv2
import numpy as np
import soundfile
from av.video.reformatter import VideoReformatter

import audio
from data.clip import Clip
from data.clip_record import NAME, ClipRecord, read_record
from face_detection import build_detector
from face_detection.crop import LONGEST_SIDE, NO_PADS, pad_and_clip, unscaled
from face_detection.find import CutFinder, detect_sparsely, lying_faces, several_people
from face_detection.track import Track, follow_face
from hparams import HParams
from media import yuv
from media.files import is_tagged
from media.reader import VideoReader, at_rate, whole
from media.sound import audio_blocks, sound_clock
from preprocessing.videos import Job
from utils.errors import InputError
from utils.files import delete_unfinished, system_name, temporary_folder
from utils.images import Rect
from utils.interrupts import STOP_SIGNALS

Item = TypeVar("Item")

HELD_BYTES = 256 << 20  # of decoded pictures: 3 s of 1080p, 25 s of 360p
CLIP_FILES = {"audio.wav", NAME, "faces.npy", "mel.npy", "cache.json", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass
class Worker:
    """What a worker process is started with."""

    detector: str
    devices: Any  # queue of a device for each worker
    threads: int  # for decoding and detection
    counter: Any  # shared number of frames decoded so far
    stop: Any  # shared flag that an interrupt sets; without a lock, which a killed worker could keep


_worker: Worker | None = None  # of this process; a pool gives its functions no other place for state


def start_worker(worker: Worker) -> None:
    global _worker
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the main process gets Ctrl-C and sets `stop`
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    cv2.setNumThreads(worker.threads)
    _worker = worker


def _leave(*_: Any) -> None:
    """End this worker at once, without its unfinished clip."""
    delete_unfinished()
    os._exit(1)  # sys.exit would wait for the main process, or print a traceback


def _leave_with_parent() -> None:
    """End this worker when the main process ends, however it does; a pool's worker would wait for jobs for ever."""
    parent, worker = multiprocessing.parent_process(), threading.main_thread().ident
    if parent is not None:
        parent.join()
        if hasattr(signal, "pthread_kill") and worker is not None:  # the thread that writes runs _leave
            signal.pthread_kill(worker, signal.SIGTERM)
        else:
            _leave()


def work(job: Job) -> ClipRecord:
    """Make a clip in a worker process."""
    return _clip_maker().make_clip(job)


@cache
def _clip_maker() -> "ClipMaker":
    assert _worker is not None
    device = _worker.devices.get()
    try:
        return ClipMaker(_worker, device)
    except Exception as error:  # of CUDA, of a library
        raise InputError(f"a worker on {device} cannot start: {type(error).__name__}: {error}") from error


class ClipMaker:
    """Makes clips one after the other, with one detector."""

    def __init__(self, worker: Worker, device: str) -> None:
        self.threads, self.counter, self.stop = worker.threads, worker.counter, worker.stop
        self.detector = build_detector(worker.detector, device, worker.threads)

    def make_clip(self, job: Job) -> ClipRecord:
        """The clip's record; if no clip can be made, it has only a problem."""
        try:
            return self._make_clip(job)
        except InputError as error:
            return ClipRecord(job.clip, str(error).removeprefix(f"{job.video}: "))
        except Exception as error:  # of a library, of CUDA, of the disk: only this clip fails
            return ClipRecord(job.clip, f"{type(error).__name__}: {error}")

    def _make_clip(self, job: Job) -> ClipRecord:
        self._check_stop()
        check_place(job)
        reader = VideoReader(job.video, self.threads, video_stream=job.options.video_stream)
        if not reader.has_sound:
            raise InputError("has no sound track")
        if is_tagged(reader.metadata) and not job.options.accept_dubs:
            raise InputError("looks like output of this program; pass --accept_dubs to train on it anyway")
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(job.folder.parent) as part:
            record = self._fill(job, reader, part)
            self._check_stop()
            record.write(part)
            remove_clip(job.folder)
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
        powers, raised = measure_speech(part / "audio.wav", job.hp)
        silent = audio.is_silent(powers)
        doubt = None if silent else audio.speech_doubt(powers)
        heard += [*([doubt] if doubt else []), *audio.raised_notice(raised)]
        return ClipRecord(
            clip=job.clip,
            problem=f"is silent ({audio.loudness_dbfs(powers):.0f} dBFS)" if silent else None,
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
                self._check_stop()
                with self.counter.get_lock():
                    self.counter.value += 1
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
            self._check_stop()
            rect = face_rect(track, number, picture)
            if rect is not None:
                _, encoded = cv2.imencode(".jpg", yuv.cut_bgr(picture, rect))
                (part / f"{number}.jpg").write_bytes(encoded.tobytes())  # cv2.imwrite fails on some names on Windows
                heights.append(rect.height)
        return heights

    def _check_stop(self) -> None:
        if self.stop.value:
            raise KeyboardInterrupt


def whole_pictures(reader: VideoReader, fps: int) -> Iterator[av.VideoFrame]:
    """The video's pictures at a constant rate."""
    return (whole(picture) for _, picture in at_rate(reader.pictures(), fps))


def face_rect(track: Track, frame: int, picture: av.VideoFrame) -> Rect | None:
    """Where a frame's face is cut out."""
    rect = pad_and_clip(track.boxes[frame], NO_PADS, picture.height, picture.width)
    return rect if track.found[frame] and rect.usable else None


def check_place(job: Job) -> None:
    """Raises InputError if the clip's folder would lie inside another clip's, or holds anything but this clip."""
    for folder in list(job.folder.parents)[: job.clip.count("/")]:
        if (folder / "audio.wav").exists():
            raise InputError(f"{job.folder}: would lie inside the clip {folder}; rename that clip's video or folder")
    if job.folder.exists() and any(job.folder.iterdir()):
        if read_record(job.folder).origin is None:
            raise InputError(f"{job.folder}: was not made by preprocess.py; move it elsewhere")
        refuse_foreign_files(job.folder)


def refuse_foreign_files(folder: Path) -> None:
    """Raises InputError if a clip's folder holds anything but the clip, and what a crash or a file manager may have
    left there."""
    for path in folder.iterdir():
        picture = path.suffix == ".jpg" and path.stem.isdecimal()
        if path.is_dir() or not (picture or path.name in CLIP_FILES or path.match(".*.part.*")):
            raise InputError(f"{path}: does not belong to the clip in this folder; move it elsewhere")


def remove_clip(folder: Path) -> None:
    """Delete a clip's folder if it exists and holds nothing else."""
    if folder.exists():
        refuse_foreign_files(folder)
        shutil.rmtree(folder)


def write_sound(job: Job, start: float, frames: int, path: Path, findings: list[str]) -> float:
    """Write the sound from time stamp `start` on for as long as the frames last, padded with silence; returns its
    length before that, in seconds. Adds what is unusual about it to findings."""
    rate = job.hp.sample_rate
    wanted, written = round(frames / job.hp.fps * rate), 0
    with soundfile.SoundFile(system_name(path), "w", rate, channels=1, subtype="PCM_16", format="WAV") as wav:
        for block in audio_blocks(job.video, rate, start, job.options.audio_stream, findings):
            block = block[: wanted - written]
            wav.write(np.clip(block, -1.0, 1.0))
            written += len(block)
            if written == wanted:
                break
        wav.write(np.zeros(wanted - written, np.float32))
    return written / rate


def measure_speech(path: Path, hp: HParams) -> tuple[np.ndarray, float]:
    """audio.frame_powers of a clip's sound as networks hear it, and by how many decibels it is raised for them."""
    wav, raised = audio.raise_quiet_speech(soundfile.read(system_name(path), dtype="float32")[0], hp)
    return audio.frame_powers(wav, hp), raised
