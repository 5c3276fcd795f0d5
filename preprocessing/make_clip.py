"""One video -> one clip folder: faces as <frame>.jpg, audio.wav, clip.json."""

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import soundfile

import audio
from data.clip import Clip, read_record
from face_detection import build_detector
from face_detection.find import lying_faces, several_people
from face_detection.track import Track
from hparams import HParams
from media.files import is_tagged
from media.reader import VideoReader, timed_at_rate, whole
from media.sound import audio_blocks, sound_clock
from preprocessing.one_pass import FaceFiles, OnePass, correct
from utils.errors import InputError
from utils.files import system_name, temporary_path, write_json

Item = TypeVar("Item")

FORMAT = 3  # of a clip folder; a change makes all clips anew
CLIP_FILES = {"audio.wav", "clip.json", "faces.npy", "mel.npy", "cache.json", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Job:
    video: Path
    clip: str  # <group>/<clip>
    folder: Path
    detector: str
    batch_size: int
    hp: HParams
    accept_dubs: bool = False
    audio_stream: int | None = None
    video_stream: int | None = None

    def origin(self) -> dict:
        """What the clip is made from; a finished clip with the same origin is left as it is."""
        stat = self.video.stat()
        settings = {"format": FORMAT, "fps": self.hp.fps, "sample_rate": self.hp.sample_rate, "detector": self.detector}
        given = {"audio_stream": self.audio_stream, "video_stream": self.video_stream}
        chosen = {name: number for name, number in given.items() if number is not None}
        return {"source": self.video.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **settings, **chosen}


class ClipMaker:
    """What one worker process keeps from clip to clip.

    counter: a shared number of frames seen so far (multiprocessing.Value); stop: a shared flag that an interrupt
    sets, without a lock that a killed worker could take with it. part: the folder that the clip at hand is made in.
    """

    part: Path | None = None

    def __init__(self, detector_name: str, device: str, threads: int, counter: Any, stop: Any) -> None:
        self.detector = build_detector(detector_name, device, threads)
        self.threads, self.counter, self.stop = threads, counter, stop
        self.pool = ThreadPoolExecutor(1)  # one for all clips: memory of threads that have ended is slow to come back

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass the items on, count them for the progress bar, and end when the user interrupts."""
        for item in self.unless_stopped(items):
            with self.counter.get_lock():
                self.counter.value += 1
            yield item

    def unless_stopped(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if self.stop.value:
                raise KeyboardInterrupt
            yield item

    def make_clip(self, job: Job) -> dict:
        """The clip's record; what cannot be made into a clip has nothing but a problem."""
        try:
            return self._make_clip(job)
        except InputError as error:
            return {"clip": job.clip, "problem": str(error).removeprefix(f"{job.video}: ")}
        except Exception as error:  # of a library, of CUDA, of the disk: this clip fails, the others do not
            return {"clip": job.clip, "problem": f"{type(error).__name__}: {error}"}

    def _make_clip(self, job: Job) -> dict:
        check_place(job)
        reader = VideoReader(job.video, self.threads, video_stream=job.video_stream)
        if not reader.has_sound:
            raise InputError("has no sound track")
        if is_tagged(reader.metadata) and not job.accept_dubs:
            raise InputError("is a dub, whose lips are no example; --accept_dubs takes it all the same")
        part = temporary_path(job.folder.parent)
        self.part = part
        try:
            record = self._fill(job, reader, part)
            if self.stop.value:
                raise KeyboardInterrupt
            write_json(part / "clip.json", record)
            remove_clip(job.folder)
            part.rename(job.folder)
        finally:
            remove_clip(part)
        with suppress(InputError):  # the survey says it
            Clip(job.folder, job.hp)  # makes the arrays that survey and training read
        return record

    def _fill(self, job: Job, reader: VideoReader, part: Path) -> dict:
        """Write faces and sound into the folder `part`, made with the first face; returns the clip's record."""
        faces = OnePass(self.detector, job.batch_size)
        with FaceFiles(part, self.pool) as files:
            track = faces.run(self.counted(whole_pictures(reader, job.hp.fps)), files)
            if not track.found.any():
                others = f"; it has {reader.videos} videos (--video_stream)" if reader.videos > 1 else ""
                raise InputError(f"no face found{others}")
            damaged = reader.damaged_packets  # before the video is decoded again, which ends earlier
            correct(
                files, track, (reader.height, reader.width), self.unless_stopped(whole_pictures(reader, job.hp.fps))
            )
        sizes = [rect.height for rect in files.rects.values()]
        heard: list[str] = []
        clock = reader.clock if job.audio_stream is None else sound_clock(job.video, job.audio_stream)
        start = reader.start - reader.clock.zero + clock.sound_zero
        sound_seconds = write_sound(job, start, len(track.found), part / "audio.wav", heard)
        powers, raised = hear(part / "audio.wav", job.hp)
        silent = f"is silent ({audio.loudness_dbfs(powers):.0f} dBFS)" if audio.is_silent(powers) else None
        record = describe(job, reader, track, sizes, sound_seconds) | {"problem": silent}
        doubt = [] if silent else [audio.speech_doubt(powers)]
        record |= {
            "findings": [*reader.findings, *clock.findings, *heard, *filter(None, doubt), *audio.raised_notice(raised)]
        }
        shares = {"on_side": lying_faces(faces.detections), "several_people": several_people(faces.detections)}
        record |= {"damaged_packets": damaged, "cuts": faces.cuts}
        return record | {name: round(share, 3) for name, share in shares.items()}


def whole_pictures(reader: VideoReader, fps: int) -> Iterator[av.VideoFrame]:
    """The video's pictures at a constant rate."""
    return (whole(picture) for _, picture in timed_at_rate(reader.pictures(), fps))


def check_place(job: Job) -> None:
    """Raises InputError where the clip's folder would lie inside another clip's, or holds what is not this clip."""
    for folder in list(job.folder.parents)[: job.clip.count("/")]:
        if (folder / "audio.wav").exists():
            raise InputError(f"{job.folder}: would lie inside the clip {folder}; rename that clip's video or folder")
    if job.folder.exists() and any(job.folder.iterdir()):
        if "origin" not in read_record(job.folder):
            raise InputError(f"{job.folder}: was not made by preprocess.py; move it elsewhere")
        refuse_foreign_files(job.folder)


def refuse_foreign_files(folder: Path) -> None:
    """Raises InputError where a clip's folder holds anything but what belongs to a clip, or what a crash or a file
    manager may have left there."""
    for path in folder.iterdir():
        picture = path.suffix == ".jpg" and path.stem.isdecimal()
        if path.is_dir() or not (picture or path.name in CLIP_FILES or path.match(".*.part.*")):
            raise InputError(f"{path}: does not belong to the clip in this folder; move it elsewhere")


def remove_clip(folder: Path) -> None:
    """Delete a clip's folder, if it is there and holds nothing else."""
    if folder.exists():
        refuse_foreign_files(folder)
        shutil.rmtree(folder)


def write_sound(job: Job, start: float, frames: int, path: Path, findings: list[str]) -> float:
    """Write the sound from the stamp `start` on for as long as the frames last; returns its own length in seconds.
    findings: what is unusual about it is added to them."""
    wanted = round(frames / job.hp.fps * job.hp.sample_rate)
    written = 0
    with soundfile.SoundFile(
        system_name(path), "w", job.hp.sample_rate, channels=1, subtype="PCM_16", format="WAV"
    ) as wav:
        for block in audio_blocks(job.video, job.hp.sample_rate, start, job.audio_stream, findings):
            block = block[: wanted - written]
            wav.write(np.clip(block, -1.0, 1.0))
            written += len(block)
            if written == wanted:
                break
        wav.write(np.zeros(wanted - written, np.float32))
    return written / job.hp.sample_rate


def hear(path: Path, hp: HParams) -> tuple[np.ndarray, float]:
    """The audio.frame_powers of a clip's sound as networks hear it, and the decibels by which it is raised for that."""
    wav, raised = audio.raise_quiet_speech(soundfile.read(system_name(path), dtype="float32")[0], hp)
    return audio.frame_powers(wav, hp), raised


def describe(job: Job, reader: VideoReader, track: Track, sizes: list[int], sound_seconds: float) -> dict:
    """What clip.json says of the pictures: what was found; verdicts.py says what it means."""
    return {
        "clip": job.clip,
        "frames": len(track.found),
        "seconds": round(len(track.found) / job.hp.fps, 3),
        "fps_in": round(float(reader.rate), 3),
        "start": round(reader.start, 6),
        "faces": len(sizes),
        "interpolated": int(track.interpolated.sum()),
        "face_height": int(np.median(sizes)) if sizes else 0,
        "sound_seconds": round(sound_seconds, 3),
        "dub": is_tagged(reader.metadata),
        "origin": job.origin(),
    }
