"""Threads, batches and the judge: what keeps a dub going."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import NARROW
from devices import Precision
from drawing import Artist, draw_mouths, prepared
from dubbing.lip_judge import LipJudge
from dubbing.pipeline import Behind, ahead
from dubbing.source import Moment
from models import Wav2Lip

CPU = torch.device("cpu")


@pytest.mark.parametrize("fps", [12.5, 24.0, 25.0, 60.0])
def test_the_judge_is_shown_the_nearest_of_25_frames_a_second(fps, monkeypatch):
    seen = []
    scorer = SimpleNamespace(embed_mel=lambda mel: None)
    monkeypatch.setattr("dubbing.lip_judge.Lips", lambda scorer: SimpleNamespace(
        see=lambda number, face, cut: seen.append(face), finish=lambda: None))  # fmt: skip
    monkeypatch.setattr("dubbing.lip_judge.sync_of", lambda lips, voice: None)
    judge = LipJudge(scorer, np.zeros((80, 100)))
    for n in range(int(3 * fps)):
        judge.see(Moment(n, n / fps, None), n)
    judge.conclude()
    assert 73 <= len(seen) <= 75
    assert all(abs(face / fps - number / 25) <= 0.5 / fps + 1e-6 for number, face in enumerate(seen))


def test_stages_keep_the_order_and_do_not_run_far_ahead():
    made, used = [], []

    def numbers():
        for n in range(100):
            made.append(n)
            yield n

    with Behind(used.append, 3) as sink:
        for n in ahead(numbers(), 4):
            assert len(made) <= n + 4 + 2
            sink(n)
    assert used == list(range(100))


def test_an_error_in_any_stage_ends_all_and_is_raised():
    def failing(n):
        raise ValueError(f"at {n}")

    def numbers():
        yield 1
        raise KeyError("made")

    with pytest.raises(KeyError, match="made"):
        list(ahead(numbers(), 2))
    with pytest.raises(ValueError, match="at 7"), Behind(failing, 2) as sink:
        sink(7)
        while True:
            sink(8)
    waiting = ahead((n for n in range(10**9)), 2)
    next(waiting)
    waiting.close()
    time.sleep(0.3)
    assert not any(thread.name in ("ahead", "behind") for thread in threading.enumerate())


def test_the_batch_is_halved_when_memory_runs_out_and_nothing_is_lost():
    real = prepared(Wav2Lip(NARROW.width).eval(), Precision("fp32", CPU))

    class Small(torch.nn.Module):
        weight = next(real.parameters())

        def parameters(self, recurse=True):
            return iter([self.weight])

        def forward(self, mel, faces):
            if len(mel) > 3:
                raise torch.OutOfMemoryError("full")
            return real(mel, faces)

    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (10, 96, 96, 3), np.uint8)
    mels = rng.normal(size=(10, 1, 80, 16)).astype(np.float32)
    artist = Artist(Small(), Precision("fp32", CPU), 8)
    drawn = artist.draw(faces, mels)
    assert (artist.batch, artist.halved) == (2, 2)
    assert np.abs(drawn.astype(int) - draw_mouths(real, faces, faces, mels, Precision("fp32", CPU))).max() <= 1
