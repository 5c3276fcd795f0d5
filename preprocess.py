"""Raw videos -> face crops at 25 fps, sound at 16 kHz, file lists, and a report.

    python preprocess.py --data_root my_videos --preprocessed_root preprocessed
    python preprocess.py --data_root my_videos --preprocessed_root preprocessed --ngpu 2 --face_detector sfd

Any tree of videos will do. The folder a video lies in is its group; each becomes

    preprocessed/<group>/<clip>/0.jpg, 1.jpg, ...   the face in every frame that has one, 25 a second
                                audio.wav           16 kHz mono, from the time of frame 0 to the end of the last
                                clip.json           where it came from and what was found

A clip that is finished is not done again unless its video or the settings have changed. Exit code 0: all videos were
made into clips; 1: some were skipped (the report says why); 2: nothing usable.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import soundfile
import torch
from tqdm import tqdm

import audio
import cli
import report
import splits
from cli import InputError
from face_detection import build_detector, detect_all
from face_detection.crop import Rect, cut, pad_and_clip
from face_detection.track import Track, follow_face
from hparams import HParams, hparams
from video import VideoReader, at_rate, audio_blocks

VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".vob",
}  # fmt: skip
FORMAT = 1  # of a clip folder; a change makes all clips anew
SMALL_FACE = 64  # pixels of face height below which the report says so
SOUND_SHORT = 0.5  # seconds of picture without sound that the report mentions


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


class Worker:
    """What one worker process keeps from clip to clip."""

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
        """The clip's record; what cannot be made into a clip gets a verdict that says why."""
        try:
            return self._make_clip(job)
        except InputError as error:
            return {"clip": job.clip, "usable": False, "verdict": str(error).removeprefix(f"{job.video}: ")}

    def _make_clip(self, job: Job) -> dict:
        reader = VideoReader(job.video, self.threads)
        if not reader.has_sound:
            raise InputError("has no sound track")
        looked_at = (frame.image for frame in self.counted(at_rate(reader.frames(exact=False), job.hp.fps)))
        track = follow_face(list(detect_all(looked_at, self.detector, job.batch_size)))
        if not track.found.any():
            raise InputError("no face found")

        part = job.folder.with_name(f".{job.folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            sizes = self._write_faces(job, reader, track, part)
            sound_seconds, powers = write_sound(job, reader.start, len(track.found), part / "audio.wav")
            record = describe(job, reader, track, sizes, sound_seconds, powers)
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

    def trimmed():
        nonlocal heard
        for block in audio_blocks(job.video, job.hp.sample_rate, start):
            block = block[: wanted - heard]
            heard += len(block)
            yield block

    with soundfile.SoundFile(path, "w", job.hp.sample_rate, channels=1, subtype="PCM_16", format="WAV") as wav:

        def written():
            for block in trimmed():
                wav.write(np.clip(block, -1.0, 1.0))
                yield block

        powers = audio.frame_powers(written(), job.hp)
        wav.write(np.zeros(wanted - heard, np.float32))
    return heard / job.hp.sample_rate, powers


def describe(job: Job, reader: VideoReader, track: Track, sizes: list[int], sound_seconds: float, powers) -> dict:
    """What clip.json says."""
    frames, fps = len(track.found), job.hp.fps
    seconds = frames / fps
    share = float(track.found.mean())
    problem = audio.speech_problem(powers)
    if problem is None and longest_run(track.found) <= job.hp.window_frames:
        problem = f"no {job.hp.window_frames + 1} frames in a row with a face"
    remarks = []
    if share < 0.99:
        remarks.append(f"face in {share:.0%} of the frames")
    if sizes and np.median(sizes) < SMALL_FACE:
        remarks.append(f"small face ({np.median(sizes):.0f} px high)")
    if seconds - sound_seconds > SOUND_SHORT:
        remarks.append(f"sound ends {seconds - sound_seconds:.1f} s early")
    return {
        "clip": job.clip,
        "usable": problem is None,
        "verdict": problem or ", ".join(["ok", *remarks]),
        "frames": frames,
        "seconds": round(seconds, 3),
        "fps_in": round(float(reader.rate), 3),
        "start": round(reader.start, 6),
        "faces": len(sizes),
        "bridged": int(track.bridged.sum()),
        "face_height": int(np.median(sizes)) if sizes else 0,
        "sound_seconds": round(sound_seconds, 3),
        "loudness_dbfs": round(audio.loudness_dbfs(powers), 1),
        "origin": job.origin(),
    }


def longest_run(found: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], found.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[0::2]).max(initial=0))


def find_videos(data_root: Path, preprocessed_root: Path) -> list[Path]:
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    inside = preprocessed_root.resolve()
    videos = sorted(
        path for path in data_root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.resolve().is_relative_to(inside)
    )  # fmt: skip
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos there ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return videos


def plan(args: argparse.Namespace, hp: HParams) -> list[Job]:
    """One job per video. Of two videos with one stem in a folder, the later by name keeps its suffix."""
    jobs, taken = [], set()
    for video in find_videos(args.data_root, args.preprocessed_root):
        inner = video.parent.relative_to(args.data_root).as_posix()
        group = args.data_root.resolve().name if inner == "." else inner
        clip = f"{group}/{video.stem}"
        if clip in taken:
            clip = f"{group}/{video.name}"
        taken.add(clip)
        folder = args.preprocessed_root / clip
        jobs.append(Job(video, clip, folder, args.face_detector, args.batch_size, hp))
    return jobs


def finished(job: Job) -> dict | None:
    """The record of a clip that is there and made from what its job says, else None."""
    path = job.folder / "clip.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return record if record.get("origin") == job.origin() else None


def make_all(jobs: list[Job], devices: list[str], detector: str) -> Iterator[dict]:
    """Records as the clips are finished, in worker processes, one per entry of devices."""
    context = multiprocessing.get_context("spawn")
    counter, stop, queue = context.Value("q", 0), context.Event(), context.Queue()
    for device in devices:
        queue.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    bar = tqdm(total=len(jobs), unit="clip", smoothing=0.05)
    pool = ProcessPoolExecutor(len(devices), context, _start_worker, (detector, queue, threads, counter, stop))
    try:
        waiting = {pool.submit(_work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            bar.set_postfix_str(f"{counter.value} frames, each twice", refresh=False)
            bar.update(len(done))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()


_worker: Worker | None = None  # one per worker process: a pool hands its functions nothing else to keep state in


def _start_worker(detector: str, devices, threads: int, counter, stop) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears Ctrl-C and sets `stop`
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _worker = Worker(detector, devices.get(), threads, counter, stop)


def _work(job: Job) -> dict:
    return _worker.make_clip(job)


def worker_devices(args: argparse.Namespace) -> list[str]:
    """A device for every worker: one worker per GPU where there are some, else one per core."""
    if args.device != "auto":
        return [args.device] * (args.workers or 1)
    gpus = min(args.ngpu, torch.cuda.device_count()) if args.face_detector != "retinaface" else 0
    if gpus:
        return [f"cuda:{i % gpus}" for i in range(args.workers or gpus)]
    return ["cpu"] * (args.workers or os.cpu_count() or 1)


def main(args: argparse.Namespace) -> int:
    hp = hparams.override(args.hparams)
    jobs = plan(args, hp)
    cli.writable_folder(args.preprocessed_root, "--preprocessed_root")
    cli.writable_folder(args.filelists_dir, "--filelists_dir")
    records, open_jobs = [], []
    for job in jobs:
        record = finished(job)
        records.append(record) if record else open_jobs.append(job)
    detector = build_detector(args.face_detector)
    print(f"{len(jobs)} videos, {len(records)} finished before; faces by {detector.name}", flush=True)

    devices = worker_devices(args)[: max(1, len(open_jobs))]
    made = make_all(open_jobs, devices, args.face_detector) if open_jobs else iter(())
    records = sorted(chain(records, made), key=lambda record: record["clip"])

    report.write(args.preprocessed_root / "report.json", records)
    print(report.table(records))
    usable = [record["clip"] for record in records if record["usable"]]
    if not usable:
        raise InputError(f"--data_root {args.data_root}: none of its {len(jobs)} videos can be used; see the table")
    for sentence in splits.update_lists(args.filelists_dir, args.preprocessed_root, usable):
        print(sentence)
    return 0 if len(usable) == len(records) else 1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", type=Path, required=True, help="folder of videos, flat or nested")
    parser.add_argument("--preprocessed_root", type=Path, required=True, help="where the clips go")
    parser.add_argument("--filelists_dir", type=Path, default=Path("filelists"), help="where the lists go")
    parser.add_argument("--ngpu", type=int, default=1, help="GPUs to use, where there are any")
    parser.add_argument("--workers", type=int, help="processes (default: one per GPU, without any one per core)")
    parser.add_argument("--batch_size", type=int, default=32, help="frames detected at once")
    parser.add_argument("--face_detector", choices=("auto", "sfd", "retinaface"), default="auto")
    cli.add_common_flags(parser)
    args = parser.parse_args(argv)
    if min(args.ngpu, args.batch_size, args.workers or 1) < 1:
        parser.error("--ngpu, --workers and --batch_size: give at least 1")
    return args


if __name__ == "__main__":
    cli.run(main, parse_args())
