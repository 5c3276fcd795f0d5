"""A source and its dubs beside each other: the heads, and below them the mouths enlarged."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from face_detection.boxes import Detector
from face_detection.find import find_faces
from face_detection.track import follow_face
from media.reader import VideoReader
from media.writer import VideoWriter
from utils.errors import InputError

COLUMN = 320  # pixels, the width of a column in the videos
TITLE_HEIGHT = 0.1  # in parts of the column's width, as the heights of the views
BACKGROUND, INK = 32, (235, 235, 235)


class View(NamedTuple):
    """What a picture shows of a frame. middle: x, y in parts of the face's box; width: in parts of the box's height;
    height: in parts of the width."""

    middle: tuple[float, float]
    width: float
    height: float


HEAD, MOUTH = View((0.5, 0.4), 1.6, 1.0), View((0.5, 0.79), 0.7, 0.62)
EDGE = 3  # pixels along the frame's edges that are not shown: the corpus has dark lines there


def usual_box(video: Path, detector: Detector) -> np.ndarray:
    """Where the face is for the most part of a video in which it hardly moves: x1, y1, x2, y2 in pixels."""
    detections, cuts = find_faces((frame.image for frame in VideoReader(video).frames()), detector, 16)
    track = follow_face(detections, cuts=cuts)
    if not track.found.any():
        raise InputError(f"{video}: no face found in any frame")
    return np.median(track.boxes[track.found], axis=0)


def side_by_side(videos: Mapping[str, Path], box: np.ndarray, column: int = COLUMN) -> Iterator[np.ndarray]:
    """Frame by frame a picture of columns, videos under their titles: uint8 BGR [H, videos·column, 3]."""
    titles = [_title(text, column) for text in videos]
    for frames in zip(*(VideoReader(path).frames() for path in videos.values()), strict=False):
        columns = [
            np.vstack([title, *(_shown(frame.image, box, view, column) for view in (HEAD, MOUTH))])
            for title, frame in zip(titles, frames, strict=True)
        ]
        yield np.hstack(columns)


def write_video(path: Path, videos: Mapping[str, Path], box: np.ndarray) -> None:
    """The columns as a video with the sound of the last one."""
    last = list(videos.values())[-1]
    reader = VideoReader(last)
    with VideoWriter(path, reader.rate, last) as writer:
        for number, picture in enumerate(side_by_side(videos, box)):
            writer.write(picture, number / float(reader.rate))


def mouths(videos: Mapping[str, Path], box: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """By title, mouths at the same evenly spaced moments of the videos, side by side: uint8 BGR [H, W, 3]."""
    pictures = [
        [_shown(frame.image, box, MOUTH, COLUMN // 2) for frame in frames]
        for frames in zip(*(VideoReader(path).frames() for path in videos.values()), strict=False)
    ]
    chosen = [pictures[len(pictures) * i // count] for i in range(count)]
    return {title: np.hstack(row) for title, row in zip(videos, zip(*chosen, strict=True), strict=True)}


def _shown(image: np.ndarray, box: np.ndarray, view: View, column: int) -> np.ndarray:
    """The view, moved and narrowed to lie inside the frame."""
    x1, y1, x2, y2 = box
    inner = image[EDGE:-EDGE, EDGE:-EDGE]
    width = min(view.width * (y2 - y1), inner.shape[1], inner.shape[0] / view.height)
    size = round(width), round(width * view.height)
    middle = x1 + view.middle[0] * (x2 - x1) - EDGE, y1 + view.middle[1] * (y2 - y1) - EDGE
    left, top = (
        round(min(max(at - side / 2, 0), limit - side))
        for at, side, limit in zip(middle, size, (inner.shape[1], inner.shape[0]), strict=True)
    )
    part = inner[top : top + size[1], left : left + size[0]]
    return cv2.resize(part, (column, round(column * view.height)), interpolation=cv2.INTER_CUBIC)


def _title(text: str, column: int) -> np.ndarray:
    title = np.full((round(column * TITLE_HEIGHT), column, 3), BACKGROUND, np.uint8)
    place = round(column * 0.03), round(column * TITLE_HEIGHT * 0.7)
    cv2.putText(title, text, place, cv2.FONT_HERSHEY_SIMPLEX, column * TITLE_HEIGHT / 48, INK, 1, cv2.LINE_AA)
    return title
