"""Boxes of all frames -> the one face to use: linked over time, short gaps bridged, smoothed as published.

detections  [2 faces][2 faces][  none ][1 face ][none] ... [none][1 face ]
track       [ box   ][ box   ][bridged][ box   ][ -- ] ... [ -- ][ box   ]
segment      0        0        0        0        -1         -1     1
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

LINK_IOU = 0.3  # the same face in neighbouring frames overlaps itself by at least this
BRIDGE_FRAMES = 10  # gaps of at most so many frames are bridged
SMOOTH_FRAMES = 5
NO_FACE = -1


@dataclass(frozen=True)
class Track:
    """boxes: int64 [T, 4], x1 y1 x2 y2, only valid where found; segment: int64 [T], NO_FACE where there is no face,
    else the number of the unbroken stretch that the frame lies in; bridged: bool [T], boxes between detections."""

    boxes: np.ndarray
    segment: np.ndarray
    bridged: np.ndarray

    @property
    def found(self) -> np.ndarray:
        return self.segment != NO_FACE


def smooth_boxes(boxes: np.ndarray, window: int = SMOOTH_FRAMES) -> np.ndarray:
    """Published smoothing of int [T, 4]: each box becomes the mean of itself and the next ones, in whole pixels.

    The last `window` boxes share one window, in which those before are already smoothed.
    """
    smoothed = np.array(boxes)
    for i in range(len(smoothed)):
        start = min(i, max(0, len(smoothed) - window))
        smoothed[i] = smoothed[start : start + window].mean(axis=0)
    return smoothed


def follow_face(detections: list[np.ndarray], smooth: bool = True, cuts: Collection[int] = ()) -> Track:
    """The one face to use in every frame.

    detections: float32 [N, 5] (x1 y1 x2 y2 score) for each of T frames; cuts: frames that begin a new shot, where every
    face begins anew. Faces are linked over time by overlap; the face with the largest area over its whole appearance
    wins, and others serve only where it is away.
    """
    T = len(detections)
    boxes = np.zeros((T, 4), np.int64)
    segment = np.full(T, NO_FACE)
    bridged = np.zeros(T, bool)
    for number, (frames, faces) in enumerate(_by_presence(_link(detections, cuts))):
        span = np.arange(frames[0], frames[-1] + 1)
        whole = np.stack([np.interp(span, frames, faces[:, k]) for k in range(4)], axis=1)  # bridges gaps, [n, 4]
        whole = np.maximum(whole, 0).astype(np.int64)
        free = segment[span] == NO_FACE
        boxes[span[free]] = smooth_boxes(whole)[free] if smooth else whole[free]
        segment[span[free]] = number
        bridged[span[free]] = ~np.isin(span[free], frames)
    return Track(boxes, segment, bridged)


def _link(detections: list[np.ndarray], cuts: Collection[int]) -> list[tuple[list[int], list[np.ndarray]]]:
    """Tracklets: the frames of one face and its boxes there."""
    tracklets: list[tuple[list[int], list[np.ndarray]]] = []
    live: list[int] = []
    for frame, found in enumerate(detections):
        live = [i for i in live if frame not in cuts and frame - tracklets[i][0][-1] <= BRIDGE_FRAMES + 1]
        unmatched = set(range(len(found)))
        if live and len(found):
            last = torch.from_numpy(np.stack([tracklets[i][1][-1][:4] for i in live]))
            overlap = box_iou(last, torch.from_numpy(found[:, :4])).numpy()
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] >= LINK_IOU:
                    tracklets[live[row]][0].append(frame)
                    tracklets[live[row]][1].append(found[column])
                    unmatched.discard(column)
        for column in sorted(unmatched):
            live.append(len(tracklets))
            tracklets.append(([frame], [found[column]]))
    return tracklets


def _by_presence(tracklets) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tracklets as arrays, that with the largest area summed over its frames first."""
    arrays = [(np.array(frames), np.stack(faces)) for frames, faces in tracklets]

    def presence(tracklet):
        x1, y1, x2, y2, score = tracklet[1].T
        return float(((x2 - x1) * (y2 - y1) * score).sum())

    return sorted(arrays, key=presence, reverse=True)
