"""One pass over a video: its faces are found, followed and cut out while later frames are still being decoded.

frames    0 ... ... | ... ... ... | ... ... ... | ...
          cut out   | AHEAD more  | faces being | not decoded
          and let   | faces known | found       | yet
          go of     |             |             |

Which person a clip shows is only certain at its end. A frame is cut out by what a few seconds before it and AHEAD
frames after it say; where the whole video then says something else, which takes several people, it is cut out again.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from face_detection.boxes import LONGEST_SIDE, Detector, unscaled
from face_detection.crop import NO_PADS, pad_and_clip
from face_detection.find import KEY_STEP, BatchedDetector, CutFinder, detect_sparsely
from face_detection.track import MAX_GAP, SMOOTH_FRAMES, Track, follow_face
from media import yuv
from utils.images import Rect

AHEAD = MAX_GAP + SMOOTH_FRAMES + 1  # frames that a box may depend on
BEHIND = 100  # frames before, that tell people apart
HELD_BYTES = 96 << 20  # of pictures whose faces are being found; with those ahead of them twice to three times as much
TOGETHER = 16  # crops that the thread is handed at once


class FaceFiles:
    """<frame>.jpg in a folder, cut, encoded and written by a thread of the pool; a context manager. The folder is made
    with the first.

    rects: where the crop of every frame was cut.
    """

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.folder, self.rects = folder, dict[int, Rect]()
        self._crops: list[tuple[int, av.VideoFrame, Rect]] = []  # for the thread, some at a time
        self._pool, self._working = pool, Future[None]()
        self._working.set_result(None)

    def __enter__(self) -> "FaceFiles":
        return self

    def __exit__(self, error: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if error is None:
            self._hand_over()
            self._working.result()
        else:
            wait([self._working])

    def write(self, number: int, picture: av.VideoFrame, rect: Rect) -> None:
        """Raises what went wrong with an earlier one."""
        self.rects[number] = rect
        self._crops.append((number, picture, rect))
        if len(self._crops) == TOGETHER:
            self._hand_over()

    def remove(self, number: int) -> None:
        """Of what was written before and is not to be written again."""
        del self.rects[number]
        self._hand_over()
        self._working.result()
        self._path(number).unlink()

    def _hand_over(self) -> None:
        """The thread works on one lot while the next is collected."""
        self._working.result()
        if self._crops:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._working, self._crops = self._pool.submit(self._write_all, self._crops), []

    def _write_all(self, crops: list[tuple[int, av.VideoFrame, Rect]]) -> None:
        for number, picture, rect in crops:
            _, encoded = cv2.imencode(".jpg", yuv.cut_bgr(picture, rect))
            self._path(number).write_bytes(encoded.tobytes())  # cv2.imwrite fails on some names on Windows

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.jpg"


class OnePass:
    """detections, cuts: as in FoundFaces, of all frames so far."""

    def __init__(self, detector: Detector, batch_size: int) -> None:
        self.detections: list[np.ndarray] = []
        self._detector, self._batch_size = BatchedDetector(detector, batch_size), batch_size
        self._cut_finder, self._reformatter, self._scale = CutFinder(), VideoReformatter(), 1.0
        self._held: dict[int, av.VideoFrame] = {}

    @property
    def cuts(self) -> list[int]:
        return self._cut_finder.cuts()

    def run(self, pictures: Iterable[av.VideoFrame], files: FaceFiles) -> Track:
        """Cut out what can be told on the way; returns the track of the whole video."""
        for block, last in self._blocks(iter(pictures)):
            self.detections += block
            if not last:
                self._write(files, len(self.detections) - AHEAD)
        track = follow_face(self.detections, cuts=self.cuts)
        for number, picture in self._held.items():
            write_face(files, number, picture, track, number)
        self._held.clear()
        return track

    def _blocks(self, pictures: Iterator[av.VideoFrame]) -> Iterator[tuple[list[np.ndarray], bool]]:
        """Faces of the frames, so many at a time as are found together, in pixels of the whole picture; and whether
        these are the last."""
        first = next(pictures, None)
        if first is None:
            return
        size = first.width * first.height * 2
        batch = max(1, min(self._batch_size, HELD_BYTES // (size * KEY_STEP)))
        reduced = self._reduced(self._cut_finder.watch(chain([first], pictures)))
        block = []
        for found in detect_sparsely(reduced, self._detector, batch, closely=True):
            block.append(unscaled(found, self._scale))
            if len(block) == KEY_STEP * batch:
                yield block, False
                block = []
        yield block, True

    def _reduced(self, pictures: Iterable[av.VideoFrame]) -> Iterator[np.ndarray]:
        """The pictures as the detector sees them; they themselves are held till their faces are known."""
        for number, picture in enumerate(pictures):
            self._held[number] = picture
            image, self._scale = yuv.reduced_bgr(picture, LONGEST_SIDE, self._reformatter)
            yield image

    def _write(self, files: FaceFiles, until: int) -> None:
        """Cut out the held frames before `until`."""
        numbers = [number for number in self._held if number < until]
        if not numbers:
            return
        since = max(0, numbers[0] - BEHIND)
        cuts = [cut - since for cut in self.cuts if cut > since]
        track = follow_face(self.detections[since:], cuts=cuts)
        for number in numbers:
            write_face(files, number, self._held.pop(number), track, number - since)


def write_face(files: FaceFiles, number: int, picture: av.VideoFrame, track: Track, row: int) -> None:
    """Cut out the face of frame `number`, if the row of the track that stands for it has one."""
    rect = face_rect(track, row, picture.height, picture.width)
    if rect is not None:
        files.write(number, picture, rect)


def face_rect(track: Track, row: int, height: int, width: int) -> Rect | None:
    rect = pad_and_clip(track.boxes[row], NO_PADS, height, width)
    return rect if track.found[row] and rect.usable else None


def correct(files: FaceFiles, track: Track, size: tuple[int, int], again: Iterable[av.VideoFrame]) -> None:
    """Cut out again what the whole video's track says otherwise. size: height and width of the pictures; again: these,
    from the first, decoded only where they are needed."""
    rects = {row: rect for row in range(len(track.found)) if (rect := face_rect(track, row, *size))}
    for number in files.rects.keys() - rects.keys():
        files.remove(number)
    wrong = {number for number, rect in rects.items() if files.rects.get(number) != rect}
    last = max(wrong, default=-1)
    if last < 0:
        return
    for number, picture in enumerate(again):
        if number in wrong:
            files.write(number, picture, rects[number])
        if number == last:
            return
