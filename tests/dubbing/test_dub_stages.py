"""Threads and the sync monitor of a dub; what a stopped dub leaves, and which files a dub replaces."""

import threading
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from dubbing import Dubber
from dubbing.options import Options
from dubbing.source import TimedFrame
from dubbing.stages import SyncMonitor, prefetch
from footage import BOX, encode, numbered, record_of
from media import codecs
from media.opening import DUB_TAG, is_dub
from media.reader import VideoReader
from media.writer import VideoWriter
from utils.files import sha256


def expert_with(embed_faces):
    return SimpleNamespace(embed_faces=embed_faces, missing=0.0, name="", good_confidence=0.5)


def scored_windows(numbers, fps: float = 25):
    """The windows that the expert is shown, as the numbers of their frames, of a dub that shows these of the source."""
    windows = []

    def embed_faces(faces, starts):
        windows.extend(faces[start : start + 5, 0].tolist() for start in starts)
        return np.zeros((len(starts), 2), np.float32)

    monitor = SyncMonitor(expert_with(embed_faces), np.zeros((80, 2), np.float32))
    for n, number in enumerate(numbers):
        monitor.add(TimedFrame(number, n / fps, None), np.array([number]))
    monitor.result()
    return windows


@pytest.mark.parametrize("fps", [12.5, 60.0])
def test_the_expert_is_shown_the_nearest_of_25_frames_a_second(fps):
    windows = scored_windows(range(int(3 * fps)), fps)
    assert 69 <= len(windows) <= 71
    assert all(abs(faces[0] / fps - number / 25) <= 0.5 / fps + 1e-6 for number, faces in enumerate(windows))


def test_no_window_spans_the_place_where_the_video_starts_again():
    windows = scored_windows([*range(15), *range(15)])
    assert len(windows) > 15
    assert all(window == list(range(window[0], window[0] + 5)) for window in windows)
    backwards = scored_windows([*range(15), *range(13, -1, -1)])
    assert [9, 8, 7, 6, 5] in backwards and len(backwards) == 25


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
    return {"faces": first, "dubbing": Dubber(replace(options, box=tuple(BOX[1:])), first.networks)}


def left_over(tmp_path) -> list:
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    return [*tmp_path.iterdir(), *threads]


@pytest.mark.parametrize(("stage", "number"), [("faces", 9), ("dubbing", 13)])
def test_a_dub_that_is_stopped_leaves_the_earlier_one_and_nothing_else(
    dubbers, talking, speech, tmp_path, stage, number
):
    path = tmp_path / "out.mp4"
    path.touch()
    with pytest.raises(Stopped):
        dubbers[stage].dub(talking, speech, path, stopping(stage, number))
    assert left_over(tmp_path) == [path]
    assert path.read_bytes() == b""


SHORT = [*BOX, "--preview", 0.12, "--no_score"]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_the_tag_is_in_the_metadata_of_every_container_behind_the_source_s_own_comment(tmp_path, name):
    source = encode(tmp_path / "source.mkv", "libx264", frames=3, COMMENT="take 3", title="a talk")
    assert not is_dub(source)
    reader, path = VideoReader(source), tmp_path / name
    for _ in range(2):  # a dub of the dub has one tag, too
        encoding = codecs.choose("auto", path.suffix)
        with VideoWriter(path, Fraction(25), like=reader, encoding=encoding, dubbed=True) as writer:
            writer.write(numbered(0), 0.0)
        assert is_dub(path)
        reader = VideoReader(path)
        metadata = {key.lower(): text for key, text in reader.metadata.items()}
        assert (metadata["comment"], metadata["title"]) == (f"take 3; {DUB_TAG}", "a talk")


def test_a_file_that_is_no_dub_is_replaced_only_when_asked(dub, talking, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(talking.read_bytes())
    result = dub(*SHORT)
    assert (result.code, f"--outfile {path}: exists" in result.error) == (2, True)
    assert path.read_bytes() == talking.read_bytes()
    assert dub(*SHORT, "--overwrite").code == 0
    assert is_dub(path)
    assert record_of(path)["video_sha256"] == sha256(path)
    path.unlink()
    beside = tmp_path / "out.mp4.json"
    beside.write_text('{"mine": 1}', encoding="utf-8")
    result = dub(*SHORT)
    assert result.code == 2
    assert "out.mp4.json: exists and is not by this program" in result.error
    assert beside.read_text(encoding="utf-8") == '{"mine": 1}'
