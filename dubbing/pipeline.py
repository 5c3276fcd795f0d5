"""Stages that overlap: what comes before and what comes after the main thread, each in a thread of its own.

    for item in prefetch(decode(), 16): ...                   # decode() runs up to 16 items ahead
    with BackgroundSink(encode, 16) as sink: sink.put(item)   # encode(item) runs in order, up to 16 items behind

The number of waiting items is bounded, so memory is; an error in either thread is raised in the main thread.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
END: Any = object()


def prefetch(items: Generator[Item, None, None], size: int) -> Generator[Item, None, None]:
    """The same items, made in a thread that is at most `size` of them ahead."""
    thread = ThreadPoolExecutor(1, "prefetch")
    waiting: deque[Future] = deque()
    try:
        while True:
            while len(waiting) < size:
                waiting.append(thread.submit(next, items, END))
            item = waiting.popleft().result()
            if item is END:
                return
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()


class BackgroundSink(Generic[Item]):
    """Calls consume(item) for every item that is put, in order, in a thread that is at most `size` items behind.

    As a context manager it ends when all is consumed; after an error in the block, what waits is dropped.
    """

    def __init__(self, consume: Callable[[Item], None], size: int) -> None:
        self._consume, self._size, self._failed = consume, size, False
        self._thread = ThreadPoolExecutor(1, "sink")
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> "BackgroundSink[Item]":
        return self

    def put(self, item: Item) -> None:
        """Waits while `size` items are behind; raises the error that consuming an earlier item has raised."""
        while self._waiting and (len(self._waiting) >= self._size or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._work, item))

    def _work(self, item: Item) -> None:
        if self._failed:
            return
        try:
            self._consume(item)
        except BaseException:
            self._failed = True
            raise

    def __exit__(self, *error: object) -> None:
        try:
            while error[0] is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
