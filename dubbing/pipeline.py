"""Stages that overlap: what comes before and what comes after the main thread, each in a thread of its own.

    for item in ahead(decode(), 16): ...          # decode() runs up to 16 items ahead
    with Behind(encode, 16) as sink: sink(item)   # encode(item) runs in order, up to 16 items behind

Queues are bounded, so memory is; an error in either thread, or in the block, ends all of them.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

END = object()
POLL = 0.1  # seconds between looks at whether the other side has stopped


def ahead(items: Generator, size: int) -> Iterator:
    """The same items, made in a thread that is at most `size` of them ahead."""
    waiting: queue.Queue = queue.Queue(size)
    stopped = threading.Event()

    def produce() -> None:
        last = END
        try:
            with closing(items):
                for item in items:
                    if not _put(waiting, item, stopped):
                        return
        except BaseException as error:  # raised again where the items are used
            last = error
        _put(waiting, last, stopped)

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


class Behind:
    """Calls consume(item) for what it is called with, in order, in a thread that is at most `size` items behind.

    As a context manager it ends when all is consumed; after an error in the block, what waits is dropped.
    """

    def __init__(self, consume: Callable, size: int):
        self.consume, self.error = consume, None
        self.waiting: queue.Queue = queue.Queue(size)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._work, name="behind", daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __call__(self, item) -> None:
        _put(self.waiting, item, self.stopped)
        self._raise()

    def __exit__(self, error_type, error, traceback) -> None:
        if error_type is None:
            _put(self.waiting, END, self.stopped)
        else:
            self.stopped.set()
        self.thread.join()
        if error_type is None:
            self._raise()

    def _work(self) -> None:
        try:
            while not self.stopped.is_set():
                try:
                    item = self.waiting.get(timeout=POLL)
                except queue.Empty:
                    continue
                if item is END:
                    return
                self.consume(item)
        except BaseException as error:  # raised again in the main thread
            self.error = error
        finally:
            self.stopped.set()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


def _put(waiting: queue.Queue, item, stopped: threading.Event) -> bool:
    """Whether there was room before the other side stopped."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=POLL)
            return True
        except queue.Full:
            continue
    return False
