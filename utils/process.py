"""This process: the signals that end it (Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends), and its memory:
batches that shrink where there is too little, freed memory that is kept. Needs no PyTorch."""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from utils.errors import ROOT, InputError
from utils.files import delete_unfinished

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

Result = TypeVar("Result")

INTERRUPTED = 130  # exit code
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
END_WITH_STDIN = "WAV2LIP_END_WITH_STDIN"  # environment variable of a process that another one started: 1
PROGRESS = "WAV2LIP_PROGRESS"  # environment variable: "json" for lines of JSON on stderr (utils/progress.py)
LAST_SECONDS = 60  # that such a process has to end in: a training writes a checkpoint
KILL_AFTER = 0.8  # seconds from asking any other to end to killing it
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4  # malloc.h
OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's error, known by its name, since OpenVINO comes without PyTorch


@contextmanager
def stop_signals_held() -> Iterator[None]:
    """Processes that are started in the block get stop signals only once they unblock them: until they have imported
    all, a signal could only make them print a traceback. This process gets its own after the block. Not on Windows,
    where signals cannot be blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing's helper process ignores SIGINT and SIGTERM by itself, and SIGHUP if it inherits that. Started by
    # the first worker it would know nothing of it, and print tracebacks
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, hangup)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupts:
    """From install() to restore() the first stop signal raises KeyboardInterrupt in the main thread. The next one ends
    the process at once, and so does the first while a module is imported, where libraries make other errors of
    KeyboardInterrupt, or print it. What was being written is deleted. Signals that are ignored, as by nohup, stay so.

    asked: whether a signal has come; code: with which the process ends from now on, once that is known.
    """

    def __init__(self) -> None:
        self.asked = False
        self.code: int | None = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # which alone can
            return
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        self._hooks = sys.excepthook, sys.unraisablehook
        sys.excepthook, sys.unraisablehook = self._uncaught, self._unraisable

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.excepthook, sys.unraisablehook = self._hooks

    def finish(self, code: int) -> None:
        """All is done: nothing that comes now changes the exit code."""
        self.code = code
        atexit.register(self._ignore)  # when the last threads have ended Python has no more use for handlers

    def _ignore(self) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def end(self) -> NoReturn:
        """Leave without any further Python code."""
        delete_unfinished()
        if self.code is None:
            with suppress(OSError):
                os.write(2, b"interrupted\n")
        delete_unfinished()  # again: meanwhile another thread may have opened the file that it was about to write
        os._exit(INTERRUPTED if self.code is None else self.code)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self.code is not None or _importing(frame):
            self.end()
        self.asked = True
        raise KeyboardInterrupt

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt) and self.asked:  # C code prints errors by this hook, too
            self.end()
        self._hooks[0](kind, error, trace)

    def _unraisable(self, about: Any) -> None:
        if issubclass(about.exc_type, KeyboardInterrupt) and self.asked:  # it came where nothing can be raised
            self.end()
        self._hooks[1](about)


def end_with_stdin() -> None:
    """Where the environment asks for it, end this process when its stdin is closed: the process that holds the other
    end of the pipe has ended, however it ended. It is first asked to stop as by SIGTERM."""
    if not os.environ.get(END_WITH_STDIN):
        return

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_SECONDS)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def run_process(
    arguments: list[str], folder: Path, hear: Callable[[str], None], seconds: float, gigabytes: float,
    started: Callable[[subprocess.Popen], None] = lambda process: None,
) -> int:  # fmt: skip
    """Run Python with these arguments in a folder, in a process that ends with this one. Returns its exit code.

    hear: gets the lines that it prints, progress as JSON among them (utils/progress.py); seconds: that it may take;
    gigabytes: of memory (Linux); started: gets the process, for end_process().
    """
    environment = {END_WITH_STDIN: "1", PROGRESS: "json", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-u", *arguments], cwd=folder, env=os.environ | environment, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    late = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end_process, (process, KILL_AFTER))
    late.daemon = True
    with process, suppress(BrokenPipeError):
        late.start()
        if resource and hasattr(resource, "prlimit") and gigabytes < inf:
            with suppress(OSError):  # it has ended
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
        started(process)
        for line in process.stdout or ():
            hear(line.decode(errors="replace"))
        process.wait()
    late.cancel()
    return process.returncode


def end_process(process: subprocess.Popen, seconds: float) -> None:
    """Ask a process to end, and kill it and its children where it does not within the seconds."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(OSError):  # they have all ended
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class HalvingBatches:
    """Runs work in batches, and in smaller ones from when the device runs out of memory.

    batch_size: most items at once, by now; oom_retries: times that memory ran out.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.oom_retries = 0

    def run(self, work: Callable[[slice], Result], count: int) -> list[Result]:
        """The results of work(part) for parts of 0..count in order. Out of memory for one item is an InputError."""
        results, first = [], 0
        while first < count:
            try:
                results.append(work(slice(first, first + self.batch_size)))
            except RuntimeError as error:
                if type(error).__name__ != OUT_OF_MEMORY:
                    raise
                if self.batch_size == 1:
                    raise InputError("--device: has too little memory for one frame; use --device cpu") from error
                self.batch_size, self.oom_retries = self.batch_size // 2, self.oom_retries + 1
                continue
            first += self.batch_size
        return results


def disable_malloc_trim() -> None:
    """Let memory that this process frees stay with it, so that every step of a training on a CPU finds the pages of the
    one before: new ones cost up to a quarter of a step. It takes up to a third more memory. With C libraries other than
    glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(MALLOPT_MMAP_MAX, 0)
        mallopt(MALLOPT_TRIM_THRESHOLD, -1)
