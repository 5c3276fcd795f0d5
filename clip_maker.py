"""One video -> one clip folder: faces as <frame>.jpg, audio.wav, clip.json."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import soundfile

import audio
from cli import InputError
from face_detection import build_detector, detect_all
from face_detection.crop import Rect, cut, pad_and_clip
from face_detection.track import Track, follow_face
from footage import CutFinder, several_people
from hparams import HParams
from video import VideoReader, at_rate, audio_blocks

FORMAT = 2  # of a clip folder; a change makes all clips anew


@dataclass(frozen=True)
class Job:
    video: Path
    clip: str  # <group>/<clip>
    folder: Path
    detector: str
    batch_size: int
    hp: HParams

    def origin(self) -> dict:
        """What the clip is made from; a finished clip with the same origin is left as it is."""
        stat = self.video.stat()
        settings = {"format": FORMAT, "fps": self.hp.fps, "sample_rate": self.hp.sample_rate, "detector": self.detector}
        return {"source": self.video.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **settings}


class ClipMaker:
    """What one worker process keeps from clip to clip.

    counter: a shared number of frames seen so far; stop: a shared event that the user's interrupt sets.
    """

    def __init__(self, detector_name: str, device: str, threads: int, counter, stop):
        self.detector = build_detector(detector_name, device, threads)
        self.threads, self.counter, self.stop = threads, counter, stop

    def counted(self, items):
        """Pass the items on, count them for the progress bar, and end when the user interrupts."""
        for item in items:
            if self.stop.is_set():
                raise KeyboardInterrupt
            with self.counter.get_lock():
                self.counter.value += 1
            yield item

    def make_clip(self, job: Job) -> dict:
        """The clip's record; what cannot be made into a clip has nothing but a problem."""
        try:
            return self._make_clip(job)
        except InputError as error:
            return {"clip": job.clip, "problem": str(error).removeprefix(f"{job.video}: ")}

    def _make_clip(self, job: Job) -> dict:
        reader = VideoReader(job.video, self.threads)
        if not reader.has_sound:
            raise InputError("has no sound track")
        images = (frame.image for frame in self.counted(at_rate(reader.frames(exact=False), job.hp.fps)))
        finder = CutFinder()
        detections = list(detect_all(finder.watch(images), self.detector, job.batch_size))
        cuts = finder.cuts()
        track = follow_face(detections, cuts=cuts)
        if not track.found.any():
            raise InputError("no face found")

        part = job.folder.with_name(f".{job.folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            sizes = self._write_faces(job, reader, track, part)
            sound_seconds, powers = write_sound(job, reader.start, len(track.found), part / "audio.wav")
            record = describe(job, reader, track, sizes, sound_seconds, powers)
            record |= {"cuts": cuts, "several_people": round(several_people(detections), 3)}
            (part / "clip.json").write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
            shutil.rmtree(job.folder, ignore_errors=True)
            part.rename(job.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return record

    def _write_faces(self, job: Job, reader: VideoReader, track: Track, folder: Path) -> list[int]:
        """Write <frame>.jpg for every frame with a face; returns the heights of the crops in pixels."""
        heights = []
        for number, frame in enumerate(self.counted(at_rate(reader.frames(), job.hp.fps))):
            rect = pad_and_clip(track.boxes[number], (0, 0, 0, 0), *frame.image.shape[:2])
            if track.found[number] and rect.usable:
                write_jpeg(folder / f"{number}.jpg", frame.image, rect)
                heights.append(rect.y2 - rect.y1)
        return heights


def write_jpeg(path: Path, image: np.ndarray, rect: Rect) -> None:
    _, encoded = cv2.imencode(".jpg", cut(image, rect))
    path.write_bytes(encoded.tobytes())  # cv2.imwrite cannot write every file name on Windows


def write_sound(job: Job, start: float, frames: int, path: Path) -> tuple[float, np.ndarray]:
    """Write the sound from time `start` for as long as the frames last; returns its own length and its frame powers."""
    wanted = round(frames / job.hp.fps * job.hp.sample_rate)
    heard = 0
    with soundfile.SoundFile(path, "w", job.hp.sample_rate, channels=1, subtype="PCM_16", format="WAV") as wav:
        for block in audio_blocks(job.video, job.hp.sample_rate, start):
            block = block[: wanted - heard]
            wav.write(np.clip(block, -1.0, 1.0))
            heard += len(block)
            if heard == wanted:
                break
        wav.write(np.zeros(wanted - heard, np.float32))
    powers = audio.frame_powers(soundfile.blocks(path, blocksize=65536, dtype="float32"), job.hp)
    return heard / job.hp.sample_rate, powers


def describe(job: Job, reader: VideoReader, track: Track, sizes: list[int], sound_seconds: float, powers) -> dict:
    """What clip.json says: what was found; verdicts.py says what it means."""
    problem = audio.speech_problem(powers)
    if problem is None and longest_run(track.found) <= job.hp.window_frames:
        problem = f"no {job.hp.window_frames + 1} frames in a row with a face"
    return {
        "clip": job.clip,
        "problem": problem,
        "frames": len(track.found),
        "seconds": round(len(track.found) / job.hp.fps, 3),
        "fps_in": round(float(reader.rate), 3),
        "start": round(reader.start, 6),
        "faces": len(sizes),
        "bridged": int(track.bridged.sum()),
        "face_height": int(np.median(sizes)) if sizes else 0,
        "sound_seconds": round(sound_seconds, 3),
        "damaged_packets": reader.damaged_packets,
        "origin": job.origin(),
    }


def longest_run(found: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], found.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[0::2]).max(initial=0))
