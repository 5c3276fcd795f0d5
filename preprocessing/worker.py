"""What a worker process runs. PyTorch, which takes seconds to import and half a gigabyte, comes with S3FD alone."""

import multiprocessing
import os
import shutil
import signal
import threading
from contextlib import suppress
from typing import Any

import cv2

from preprocessing.make_clip import ClipMaker, Job
from utils.errors import InputError
from utils.interrupts import STOP_SIGNALS

# One per worker process: a pool hands its functions nothing else to keep state in
_maker: ClipMaker | None = None
_failure = ""  # why there is none


def start(detector: str, devices: Any, threads: int, counter: Any, stop: Any) -> None:
    global _maker, _failure
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the main process gets Ctrl-C and sets `stop`
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_leave_with_parent, args=[parent, threading.get_ident()], daemon=True).start()
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


def work(job: Job) -> dict:
    if _maker is None:
        raise InputError(_failure)
    return _maker.make_clip(job)
