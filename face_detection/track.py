"""Boxes of all frames -> the one face to use: linked over time, short gaps interpolated, smoothed as published.

detections  [2 faces][2 faces][  none ][1 face ][none] ... [none][1 face ]
track       [ box   ][ box   ][between][ box   ][ -- ] ... [ -- ][ box   ]
segment      0        0        0        0        -1         -1     1
"""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from face_detection.crop import assigned, overlaps
from utils.errors import InputError

LINK_IOU = 0.3  # the same face in neighbouring frames overlaps itself by at least this
MAX_GAP = 10  # frames; longer gaps are not interpolated
SMOOTH_FRAMES = 5
NO_FACE = -1


@dataclass(frozen=True)
class Track:
    """One face in T frames."""

    boxes: np.ndarray  # int64 [T, 4]: x1 y1 x2 y2, valid where found
    segment: np.ndarray  # int64 [T]: the number of the unbroken stretch that the frame is in, or NO_FACE
    interpolated: np.ndarray  # bool [T]: boxes between detections

    @property
    def found(self) -> np.ndarray:
        return self.segment != NO_FACE


class FaceNotFound(InputError):
    """No face is at --face_at, or there are fewer than --face_index asks for. frame: the first with the most faces;
    faces: its faces from the left, float32 [N, 5 or more]."""

    def __init__(self, text: str, frame: int, faces: np.ndarray) -> None:
        super().__init__(text)
        self.frame, self.faces = frame, faces


class Tracklet(NamedTuple):
    """Detections that are linked over time as one face."""

    frames: np.ndarray  # int64 [n], ascending
    faces: np.ndarray  # float32 [n, 5 or more]

    @property
    def total_area(self) -> float:
        """Summed over all frames, weighted with the score."""
        x1, y1, x2, y2, score = self.faces.T[:5]
        return float(((x2 - x1) * (y2 - y1) * score).sum())


def smooth_boxes(boxes: np.ndarray, window: int = SMOOTH_FRAMES) -> np.ndarray:
    """Published smoothing of int [T, 4]: each box becomes the mean of itself and the next ones, in whole pixels.

    The last `window` boxes share one window, in which those before are already smoothed.
    """
    smoothed = np.array(boxes)
    for i in range(len(smoothed)):
        start = min(i, max(0, len(smoothed) - window))
        smoothed[i] = smoothed[start : start + window].mean(axis=0)
    return smoothed


def follow_face(
    detections: list[np.ndarray],
    smooth: bool = True,
    cuts: Collection[int] = (),
    at: tuple[float, float] | None = None,
    index: int | None = None,
) -> Track:
    """The one face to use in every frame.

    Faces are linked over time by overlap. In every shot the person is the face with the largest area over its whole
    appearance; a face before or after it, never beside it, is the same person. A person chosen by `at` or `index` is
    searched in other shots only where he or she was last seen.

    detections: float32 [N, 5 or more] (x1 y1 x2 y2 score) for each of T frames; cuts: frames that begin a new shot; at:
    a point x, y on the person; index: the person's place from the left, from 0, in the first frame with the most faces.
    Raises FaceNotFound when no face is at that point, or there are fewer faces.
    """
    tracklets = link(detections, cuts)
    chosen = _chosen(tracklets, detections, at, index)
    return filled(_one_person(tracklets, cuts, chosen), len(detections), smooth)


def filled(tracklets: list[Tracklet], count: int, smooth: bool) -> Track:
    """One person's track in `count` frames from tracklets that do not overlap in time: gaps inside each are filled."""
    boxes = np.zeros((count, 4), np.int64)
    segment = np.full(count, NO_FACE)
    interpolated = np.zeros(count, bool)
    for number, (frames, faces) in enumerate(tracklets):
        span = np.arange(frames[0], frames[-1] + 1)
        whole = np.stack([np.interp(span, frames, faces[:, k]) for k in range(4)], axis=1)  # [n, 4], gaps filled
        whole = np.maximum(whole, 0).astype(np.int64)
        boxes[span] = smooth_boxes(whole) if smooth else whole
        segment[span] = number
        interpolated[span] = ~np.isin(span, frames)
    return Track(boxes, segment, interpolated)


def faces_of(detections: list[np.ndarray], track: Track) -> list[np.ndarray | None]:
    """The detection of the tracked face in every frame, float32 [5 or more]; None where there is none."""
    return [
        found[np.abs(found[:, :4] - box).sum(axis=1).argmin()] if shown and len(found) else None
        for found, box, shown in zip(detections, track.boxes, track.found, strict=True)
    ]


def frame_with_most_faces(detections: list[np.ndarray]) -> tuple[int, np.ndarray]:
    """The first frame with the most faces, and its faces from the left, float32 [N, 5 or more], in the order in which
    --face_index counts them."""
    frame = int(np.argmax([len(found) for found in detections]))
    return frame, detections[frame][np.argsort(detections[frame][:, 0])]


def link(detections: list[np.ndarray], cuts: Collection[int]) -> list[Tracklet]:
    """Faces that overlap from frame to frame within a shot, as tracklets."""
    tracklets: list[tuple[list[int], list[np.ndarray]]] = []
    live: list[int] = []
    for frame, found in enumerate(detections):
        live = [i for i in live if frame not in cuts and frame - tracklets[i][0][-1] <= MAX_GAP + 1]
        unmatched = set(range(len(found)))
        if live and len(found):
            overlap = overlaps(np.stack([tracklets[i][1][-1] for i in live]), found)
            for row, column in zip(*assigned(overlap), strict=True):
                if overlap[row, column] >= LINK_IOU:
                    tracklets[live[row]][0].append(frame)
                    tracklets[live[row]][1].append(found[column])
                    unmatched.discard(column)
        for column in sorted(unmatched):
            live.append(len(tracklets))
            tracklets.append(([frame], [found[column]]))
    return [Tracklet(np.array(frames), np.stack(faces)) for frames, faces in tracklets]


def _chosen(
    tracklets: list[Tracklet], detections: list[np.ndarray], at: tuple[float, float] | None, index: int | None
) -> Tracklet | None:
    """The tracklet that `at` or `index` chooses; None where neither is given."""
    frame, people = frame_with_most_faces(detections)
    if index is not None:
        if index >= len(people):
            most = "1 face is" if len(people) == 1 else f"{len(people)} faces are"
            raise FaceNotFound(f"--face_index {index}: at most {most} seen at once, counted from 0", frame, people)
        at = tuple(_centres(people)[index])
        here = [tracklet for tracklet in tracklets if frame in tracklet.frames]
        return min(here, key=lambda t: np.hypot(*(_centres(t.faces)[t.frames == frame][0] - at)))
    if at is None:
        return None
    first, hit = len(detections), None  # the first frame with a face at the point
    for tracklet in tracklets:
        inside = (tracklet.faces[:, :2] <= at).all(axis=1) & (tracklet.faces[:, 2:4] >= at).all(axis=1)
        if inside.any() and tracklet.frames[inside.argmax()] < first:
            first, hit = tracklet.frames[inside.argmax()], tracklet
    if hit is None:
        raise FaceNotFound(f"--face_at {at[0]:g},{at[1]:g}: no face is ever there", frame, people)
    return hit


def _one_person(tracklets: list[Tracklet], cuts: Collection[int], chosen: Tracklet | None) -> list[Tracklet]:
    """The tracklets of the person to follow; no two of them overlap in time."""
    starts, shots = sorted(cuts), dict[int, list[Tracklet]]()
    for tracklet in tracklets:
        shots.setdefault(bisect_right(starts, tracklet.frames[0]), []).append(tracklet)
    person: list[Tracklet] = []
    first_shot = bisect_right(starts, chosen.frames[0]) if chosen else 0
    for shot in sorted(shots, key=lambda shot: abs(shot - first_shot)):
        candidates = sorted(shots[shot], key=lambda tracklet: tracklet.total_area, reverse=True)
        if chosen and shot == first_shot:
            candidates = [chosen, *candidates]
        elif chosen:
            candidates = [tracklet for tracklet in candidates if _where_last_seen(tracklet, person)]
        taken: list[Tracklet] = []
        for tracklet in candidates:
            begin, end = tracklet.frames[0], tracklet.frames[-1]
            if all(end < other.frames[0] or other.frames[-1] < begin for other in taken):
                taken.append(tracklet)
        person += taken
    return person


def _where_last_seen(tracklet: Tracklet, person: list[Tracklet]) -> bool:
    """Whether a tracklet begins or ends where the person was seen nearest in time."""
    frames, faces = tracklet
    all_frames, all_faces = np.concatenate([f for f, _ in person]), np.concatenate([b for _, b in person])
    for end in (0, -1):
        near = all_faces[np.abs(all_frames - frames[end]).argmin()]
        if overlaps(near[None], faces[[end]]).item() >= LINK_IOU:
            return True
    return False


def _centres(faces: np.ndarray) -> np.ndarray:
    return (faces[:, :2] + faces[:, 2:4]) / 2
