"""The worker processes that make clips of videos."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from face_detection import build_detector
from preprocessing import worker
from preprocessing.make_clip import Job
from preprocessing.options import PreprocessingOptions
from preprocessing.plan import finished
from utils import distributed
from utils.errors import InputError
from utils.interrupts import STOP_SIGNALS, start_resource_tracker
from utils.progress import Progress


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
    began, fps = time.monotonic(), jobs[0].hp.fps
    start_resource_tracker()
    context = multiprocessing.get_context("spawn")
    counter, stop, queue = context.Value("q", 0), context.RawValue("b", 0), context.Queue()
    for device in devices:
        queue.put(device)
    threads = threads_each(len(devices))
    bar = Progress(desc="clips", unit="clip", total=len(jobs), disable=not distributed.is_main())
    pool = ProcessPoolExecutor(len(devices), context, worker.start, (detector, queue, threads, counter, stop))
    try:
        with _interrupts_held():  # the workers start here
            waiting = {pool.submit(worker.work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            bar.set_postfix_str(pace(counter.value / fps, time.monotonic() - began), refresh=False)
            bar.update(len(done))
    except BrokenProcessPool as error:
        raise InputError("a worker process died, most likely for lack of memory; use fewer --workers") from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)
        bar.close()


def pace(footage: float, seconds: float) -> str:
    """How much footage, in seconds, was gone through in so many seconds."""
    return f"{footage:.0f} s of footage, {footage / seconds:.1f} times real time"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Stop signals come after the block, and to the processes that are started in it when they have imported: till then
    these could only print a traceback. Not on Windows, where signals cannot be blocked."""
    mask = getattr(signal, "pthread_sigmask", None)
    before = mask(signal.SIG_BLOCK, STOP_SIGNALS) if mask else None
    try:
        yield
    finally:
        if mask:
            mask(signal.SIG_SETMASK, before)


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
    return [device] * (options.workers or (_cores() if device == "cpu" else 1))


def threads_each(workers: int) -> int:
    """CPU threads for each worker of this process."""
    return max(1, _cores() // workers)


def _cores() -> int:
    """Of the machine, this process's share among those that torchrun started on it."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
