"""Faces found, followed and cut out in one pass over a video."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import av
import cv2
import numpy as np
import pytest

from face_detection.find import KEY_STEP, detect_sparsely
from face_detection.track import follow_face
from hparams import hparams
from media import yuv
from media.reader import VideoReader
from preprocessing import make_clip as clip_making
from preprocessing import one_pass
from preprocessing.one_pass import FaceFiles, OnePass, correct, face_rect
from preprocessing.workers import pace

SIDE = 160


class Squares:
    """A detector of bright squares on black."""

    name = "squares"

    def detect(self, frames):
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame):
        _, _, stats, _ = cv2.connectedComponentsWithStats((frame[..., 1] > 60).astype(np.uint8))
        boxes = [[x, y, x + width, y + height, 0.9] for x, y, width, height, area in stats[1:] if area > 50]
        return np.array(boxes, np.float32).reshape(-1, 5)


def picture(*squares: tuple[int, int, int]) -> av.VideoFrame:
    """Squares of noise: left, top and side of each."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for left, top, side in squares:
        part = image[top : top + side, left : left + side]
        part[:] = np.random.default_rng(side).integers(90, 250, (side, side, 1))
    return yuv.from_bgr(image, "yuv420p")


def same_in_two_passes(pictures: list[av.VideoFrame], folder) -> tuple[dict, dict]:
    """Where the crops are cut in one pass, corrected, and where they are when all is known before."""
    with FaceFiles(folder, ThreadPoolExecutor(1)) as files:
        faces = OnePass(Squares(), 2)
        track = faces.run(iter(pictures), files)
        early = dict(files.rects)
        correct(files, track, (SIDE, SIDE), iter(pictures))
    whole = follow_face(faces.detections, cuts=faces.cuts)
    expected = {n: rect for n in range(len(pictures)) if (rect := face_rect(whole, n, SIDE, SIDE))}
    assert files.rects == expected
    assert {path.name for path in folder.iterdir()} == {f"{n}.jpg" for n in expected}
    for n, rect in expected.items():
        crop = cv2.imdecode(np.fromfile(folder / f"{n}.jpg", np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(crop.astype(int) - yuv.to_bgr(pictures[n])[rect.y1 : rect.y2, rect.x1 : rect.x2]).mean() < 6
    return early, expected


def test_crops_written_on_the_way_are_those_of_the_whole_video(tmp_path):
    pictures = [picture((20 + n // 2, 40, 48)) for n in range(70)]
    pictures[30:34] = [picture()] * 4  # a gap, across which the box is interpolated
    early, expected = same_in_two_passes(pictures, tmp_path)
    assert early == expected
    assert len(expected) == 70


def test_who_turns_out_to_be_somebody_else_is_cut_out_again(tmp_path):
    smaller = (10, 20, 40)  # alone at first; then the larger, who is the person, comes without a cut
    pictures = [picture(smaller)] * 60 + [picture(smaller, (80, 60, min(60, 8 + 3 * n))) for n in range(70)]
    early, expected = same_in_two_passes(pictures, tmp_path)
    assert 0 in early
    assert 60 <= min(expected) < 65


def test_pictures_are_let_go_of_while_the_video_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(one_pass, "HELD_BYTES", 0)
    most, faces = 0, OnePass(Squares(), 8)

    def watched():
        nonlocal most
        for _ in range(120):
            most = max(most, len(faces._held))
            yield picture((20, 40, 48))

    with FaceFiles(tmp_path, ThreadPoolExecutor(1)) as files:
        faces.run(watched(), files)
    assert most <= one_pass.AHEAD + 2 * KEY_STEP + 1
    assert len(files.rects) == 120


def test_what_goes_wrong_in_the_writing_thread_is_raised(tmp_path):
    (tmp_path / "1.jpg").mkdir()
    with pytest.raises(OSError, match=r"1\.jpg"), FaceFiles(tmp_path, ThreadPoolExecutor(1)) as files:
        for n in range(3):
            files.write(n, picture((20, 40, 48)), face_rect(_still_track(3), n, SIDE, SIDE))


def test_a_video_without_a_face_leaves_no_folder(tmp_path):
    with FaceFiles(tmp_path / "g" / "a", ThreadPoolExecutor(1)) as files:
        OnePass(Squares(), 8).run(iter([picture()] * 10), files)
    assert not (tmp_path / "g").exists()


def _still_track(count: int):
    return follow_face([np.array([[20, 40, 68, 88, 0.9]], np.float32)] * count)


def test_a_face_that_moves_is_checked_between_key_frames_and_a_still_one_is_not():
    def detected(lefts):
        seen, images = [], [yuv.to_bgr(picture((left, 40, 48))) for left in lefts]

        class Watched(Squares):
            def detect(self, frames):
                seen.extend(frames)
                return super().detect(frames)

        found = list(detect_sparsely(iter(images), Watched(), 4, closely=True))
        assert [round(float(faces[0, 0])) for faces in found] == lefts
        return len(seen)

    assert detected([40] * 11) == 3
    assert detected([40 + n for n in range(11)]) == 5  # along a straight line: the middle ones, too
    assert detected([40, 40, 40, 41, 43, 45, 45, 45, 46, 48, 50]) == 11


def test_a_clip_is_read_once(tmp_path, talking, monkeypatch, no_workers):
    passes, read = [], VideoReader.pictures

    def pictures(reader, *arguments, **settings):
        passes.append(reader.path)  # when the first is asked for
        yield from read(reader, *arguments, **settings)

    monkeypatch.setattr(VideoReader, "pictures", pictures)
    counter = _Counter()
    maker = clip_making.ClipMaker("retinaface", "cpu", 1, counter, _Flag())
    job = clip_making.Job(talking, "g/a", tmp_path / "g" / "a", maker.detector.name.lower(), 8, hparams)
    record = maker.make_clip(job)
    assert record["problem"] is None
    assert passes == [talking]
    assert counter.value == record["frames"] == record["faces"]


def test_damage_is_counted_over_the_whole_video_also_where_it_is_decoded_again(
    tmp_path, talking, monkeypatch, no_workers
):
    read, damaged = VideoReader.pictures, iter((3, 1))  # packets: in the whole video, in what is decoded again

    def pictures(reader, *arguments, **settings):
        yield from read(reader, *arguments, **settings)
        reader.damaged_packets = next(damaged)

    def decode_again(files, track, size, again):
        list(again)

    monkeypatch.setattr(VideoReader, "pictures", pictures)
    monkeypatch.setattr(clip_making, "correct", decode_again)
    maker = clip_making.ClipMaker("retinaface", "cpu", 1, _Counter(), _Flag())
    record = maker.make_clip(clip_making.Job(talking, "g/a", tmp_path / "g" / "a", "retinaface", 8, hparams))
    assert record["damaged_packets"] == 3


class _Flag:
    value = 0


class _Counter(_Flag):
    def get_lock(self):
        return nullcontext()


def test_progress_is_in_seconds_of_footage_and_in_times_of_real_time():
    assert pace(300.0, 20.0) == "300 s of footage, 15.0 times real time"
