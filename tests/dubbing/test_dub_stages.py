"""Threads, batches and the sync monitor of a dub."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dubbing.source import TimedFrame
from dubbing.stages import SyncMonitor, prefetch

CPU = torch.device("cpu")


def expert_with(embed_faces):
    return SimpleNamespace(
        embed_mel=lambda mel: np.zeros((80, 2), np.float32), embed_faces=embed_faces, missing=0.0, name="",
        good_confidence=0.5,
    )  # fmt: skip


def scored_windows(numbers):
    """The windows, as the numbers of their frames, of a dub that shows these frames of the source."""
    windows = []

    def embed_faces(faces, starts):
        windows.extend(faces[start : start + 5, 0].tolist() for start in starts)
        return np.zeros((len(starts), 2), np.float32)

    monitor = SyncMonitor(expert_with(embed_faces), np.zeros((80, 200)))
    for n, number in enumerate(numbers):
        monitor.add(TimedFrame(number, n / 25, None), np.array([number]))
    monitor.result()
    return windows


@pytest.mark.parametrize("fps", [12.5, 60.0])
def test_the_expert_is_shown_the_nearest_of_25_frames_a_second(fps):
    seen = []

    def embed_faces(faces, starts):
        seen.extend(faces[: len(starts), 0].tolist())
        return np.zeros((len(starts), 2), np.float32)

    monitor = SyncMonitor(expert_with(embed_faces), np.zeros((80, 100)))
    for n in range(int(3 * fps)):
        monitor.add(TimedFrame(n, n / fps, None), np.array([n]))
    assert monitor.result().windows == len(seen)
    assert 69 <= len(seen) <= 71  # each window by its first frame
    assert all(abs(face / fps - number / 25) <= 0.5 / fps + 1e-6 for number, face in enumerate(seen))


def test_no_window_spans_the_place_where_the_video_starts_again():
    windows = scored_windows([*range(15), *range(15)])
    assert len(windows) > 15
    assert all(window == list(range(window[0], window[0] + 5)) for window in windows)
    backwards = scored_windows([*range(15), *range(13, -1, -1)])
    assert [9, 8, 7, 6, 5] in backwards and len(backwards) == 25


def test_prefetched_items_keep_their_order_and_are_not_made_far_ahead():
    made = []

    def numbers():
        for n in range(100):
            made.append(n)
            yield n

    for n in prefetch(numbers(), 4):
        assert len(made) <= n + 4 + 1
    assert made == list(range(100))


def test_an_error_while_items_are_made_is_raised_and_no_thread_stays():
    def numbers():
        yield 1
        raise KeyError("made")

    with pytest.raises(KeyError, match="made"):
        list(prefetch(numbers(), 2))
    waiting = prefetch((n for n in range(10**9)), 2)
    next(waiting)
    waiting.close()
    time.sleep(0.3)
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
