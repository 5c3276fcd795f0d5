"""The worker processes that make clips of videos."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

import cv2
import torch

from face_detection import build_detector
from preprocessing.make_clip import ClipMaker, Job
from preprocessing.options import PreprocessingOptions
from preprocessing.plan import finished
from utils import distributed
from utils.errors import InputError
from utils.progress import Progress

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


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
    context = multiprocessing.get_context("spawn")
    counter, stop, queue = context.Value("q", 0), context.RawValue("b", 0), context.Queue()
    for device in devices:
        queue.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    bar = Progress(desc="clips", unit="clip", total=len(jobs), disable=not distributed.is_main())
    pool = ProcessPoolExecutor(len(devices), context, _start_worker, (detector, queue, threads, counter, stop))
    try:
        with _interrupts_held():  # the workers start here
            waiting = {pool.submit(_work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            bar.remark = pace(counter.value / fps, time.monotonic() - began)
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


# One per worker process: a pool hands its functions nothing else to keep state in
_maker: ClipMaker | None = None
_failure = ""  # why there is none


def _start_worker(detector: str, devices: Any, threads: int, counter: Any, stop: Any) -> None:
    global _maker, _failure
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process gets Ctrl-C and sets `stop`
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_leave_with_parent, args=[parent, threading.get_ident()], daemon=True).start()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    device = devices.get()
    try:
        _maker = ClipMaker(detector, device, threads, counter, stop)
    except Exception as error:  # raised here it would look like a process that died
        _failure = f"a worker on {device} cannot start: {type(error).__name__}: {error}"


def _leave(*_: Any) -> None:
    """End this worker at once and leave nothing of the clip at hand."""
    if _maker and _maker.part:
        part = _maker.part
        with suppress(OSError):  # another name keeps the thread that encodes from writing there meanwhile
            part = part.rename(part.with_name(f"{part.name}.left"))
        shutil.rmtree(part, ignore_errors=True)
    os._exit(1)  # what else would end it waits for the main process, or prints a traceback


def _leave_with_parent(parent: Any, worker: int) -> None:
    """Wait for the main process to end, however it does: a worker by itself would wait for jobs for ever. worker: the
    thread that may have a clip at hand."""
    parent.join()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(worker, signal.SIGTERM)
    else:
        _leave()


def _work(job: Job) -> dict:
    if _maker is None:
        raise InputError(_failure)
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
