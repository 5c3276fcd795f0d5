"""A dub ends soon, and leaves nothing behind, on Ctrl-C and when its progress bar raises, as a page's does when its
user stops it."""

import threading
from dataclasses import replace

import pytest

from dubbing import Dubber
from dubbing.options import Options
from media.writer import VideoWriter

BOX = (57, 177, 178, 273)


class Stopped(Exception):
    """Nothing that the dubbing knows of."""


def stopping(stage: str, number: int):
    """A progress bar that raises before the frame of this number in the stage."""

    def progress(items, desc="", **about):
        for n, item in enumerate(items):
            if desc == stage and n == number:
                raise Stopped
            yield item

    return progress


@pytest.fixture(scope="module")
def dubbers(generator) -> dict[str, Dubber]:
    """Dubs that are to be stopped in each stage."""
    options = Options(checkpoint_path=generator, no_score=True, no_cache=True, wav2lip_batch_size=2)
    first = Dubber(options)
    return {"faces": first, "dubbing": Dubber(replace(options, box=BOX), first.networks)}


def left_over(tmp_path) -> list:
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    return [*tmp_path.iterdir(), *threads]


@pytest.mark.parametrize(("stage", "number"), [("faces", 9), ("dubbing", 0), ("dubbing", 24)])
def test_what_the_progress_bar_raises_ends_the_dub_without_a_trace(dubbers, talking, speech, tmp_path, stage, number):
    with pytest.raises(Stopped):
        dubbers[stage].dub(talking, speech, tmp_path / "out.mp4", stopping(stage, number))
    assert left_over(tmp_path) == []


def test_an_earlier_dub_stays_when_the_next_is_stopped(dubbers, talking, speech, tmp_path):
    path = tmp_path / "out.mp4"
    dubber = dubbers["dubbing"]
    dubber.dub(talking, speech, path, lambda items, **about: items)
    before, files = path.read_bytes(), left_over(tmp_path)
    with pytest.raises(Stopped):
        dubber.dub(talking, speech, path, stopping("dubbing", 13))
    assert path.read_bytes() == before
    assert left_over(tmp_path) == files


def test_an_interrupt_leaves_nothing_behind(dub, tmp_path, monkeypatch):
    real, written = VideoWriter.write_picture, []

    def interrupted(self, picture, time):
        real(self, picture, time)
        written.append([path.stat().st_size for path in tmp_path.iterdir()])
        if len(written) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "write_picture", interrupted)
    assert dub("--box", *BOX).code == 130
    assert len(written) == 20
    assert len(written[-1]) == 2  # the video that was being written, and its record
    assert list(tmp_path.iterdir()) == []
