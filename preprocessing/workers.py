"""Which videos there are, which clips they become, and the worker processes that make them."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from data.clip import read_record
from face_detection import build_detector
from hparams import HParams
from media.reader import VIDEO_SUFFIXES
from preprocessing.make_clip import ClipMaker, Job
from preprocessing.options import PreprocessingOptions
from utils import distributed
from utils.errors import InputError


def find_videos(data_root: Path) -> list[Path]:
    """All videos below the folder but hidden ones, such as the ._x.mp4 that macOS leaves on other disks."""
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    videos = sorted(
        path for path in data_root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )  # fmt: skip
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos there ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return videos


def plan_jobs(options: PreprocessingOptions, hp: HParams) -> list[Job]:
    """One job per video. Of two videos with one stem in a folder, the later by name keeps its suffix."""
    assert options.data_root is not None
    jobs, taken = [], set()
    for video in find_videos(options.data_root):
        inner = video.parent.relative_to(options.data_root).as_posix()
        group = options.data_root.resolve().name if inner == "." else inner
        clip = f"{group}/{video.stem}"
        if clip in taken:
            clip = f"{group}/{video.name}"
        taken.add(clip)
        folder = options.preprocessed_root / clip
        jobs.append(Job(video, clip, folder, options.face_detector, options.batch_size, hp))
    return jobs


def finished(job: Job) -> dict | None:
    """The record of a clip that is there and made from what its job says, else None."""
    record = read_record(job.folder)
    return record if record.get("origin") == job.origin() else None


def make_clips(jobs: list[Job], options: PreprocessingOptions) -> list[dict]:
    """The records of the jobs' clips; those that are finished already are not made again."""
    records = [finished(job) for job in jobs]
    known = [record for record in records if record]
    missing = [job for job, record in zip(jobs, records, strict=True) if not record]
    detector = build_detector(options.face_detector)
    print(f"{len(jobs)} videos, {len(known)} finished before; faces by {detector.name}", flush=True)
    if not missing:
        return known
    devices = worker_devices(options, detector.name == "S3FD")[: len(missing)]
    return [*known, *run_workers(missing, devices, options.face_detector)]


def run_workers(jobs: list[Job], devices: list[str], detector: str) -> Iterator[dict]:
    """Records as the clips are finished, in worker processes, one per entry of devices."""
    context = multiprocessing.get_context("spawn")
    counter, stop, queue = context.Value("q", 0), context.Event(), context.Queue()
    for device in devices:
        queue.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    bar = tqdm(total=len(jobs), unit="clip", smoothing=0.05, disable=not distributed.is_main())
    pool = ProcessPoolExecutor(len(devices), context, _start_worker, (detector, queue, threads, counter, stop))
    try:
        waiting = {pool.submit(_work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            bar.set_postfix_str(f"{counter.value} frames read, every frame twice", refresh=False)
            bar.update(len(done))
    except BrokenProcessPool as error:
        raise InputError("a worker process died, most likely for lack of memory; use fewer --workers") from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()


_maker: ClipMaker | None = None  # one per worker process: a pool hands its functions nothing else to keep state in


def _start_worker(detector: str, devices: Any, threads: int, counter: Any, stop: Any) -> None:
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process gets Ctrl-C and sets `stop`
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _maker = ClipMaker(detector, devices.get(), threads, counter, stop)


def _work(job: Job) -> dict:
    assert _maker is not None
    return _maker.make_clip(job)


def worker_devices(options: PreprocessingOptions, on_gpu: bool) -> list[str]:
    """A device for every worker of this process: one worker per GPU where the detector can use it, else one per core.
    Processes that torchrun started on one machine share its devices."""
    here, place = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if on_gpu and options.device == "auto" else 0
    if gpus and here > 1:
        return [f"cuda:{place % gpus}"] * (options.workers or 1)
    if gpus:
        gpus = min(options.ngpu, gpus)
        return [f"cuda:{i % gpus}" for i in range(options.workers or gpus)]
    device = "cpu" if options.device == "auto" else options.device
    cores = max(1, (os.cpu_count() or 1) // here)
    return [device] * (options.workers or (cores if device == "cpu" else 1))
