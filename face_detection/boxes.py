"""Box arithmetic that both detectors share. Boxes are float32 x1 y1 x2 y2 in pixels, anchors cx cy w h."""

from typing import Protocol

import cv2
import numpy as np

MEAN_BGR = (104.0, 117.0, 123.0)  # taken off the pixels; both networks were trained so
LONGEST_SIDE = 640  # pixels; larger frames are reduced before detection
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class Detector(Protocol):
    """What finds faces: S3FD or RetinaFace. name: which of them it is."""

    name: str

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """frames: BGR uint8 [H, W, 3], all of one size -> for each float32 [N, 5 or more], best first."""
        ...


def shrink(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """The image reduced so that its longest side is at most `longest`, and the factor it was scaled by (<= 1)."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image, 1.0
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def unscaled(boxes: np.ndarray, scale: float) -> np.ndarray:
    """Detections [N, 5 or more] in an image that was scaled by `scale`, in the pixels it had before."""
    factors = np.full(boxes.shape[1], scale, np.float32)
    factors[4] = 1  # the score
    return boxes / factors


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N, 4 or more] with boxes [M, 4 or more]: float32 [N, M]."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:4], theirs[None, :, 2:4])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def assigned(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int [min(N, M)] each, of the pairs that overlap most in sum; overlap: [N, M]."""
    if overlap.shape == (1, 1):
        return np.zeros(1, int), np.zeros(1, int)
    from scipy.optimize import linear_sum_assignment  # slow to import, and most videos show one face

    return linear_sum_assignment(-overlap)


def grid_anchors(rows: int, columns: int, stride: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Square anchors at the centres of a grid of stride x stride cells: float32 [rows·columns·len(sizes), 4]."""
    y, x = (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride
    cy, cx, size = np.meshgrid(y, x, sizes, indexing="ij")
    return np.stack((cx, cy, size, size), axis=-1).reshape(-1, 4).astype(np.float32)


def decode(offsets: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Regressed offsets [..., N, 4] against anchors [N, 4] -> boxes [..., N, 4] (SSD's centre-size coding)."""
    centres = anchors[:, :2] + offsets[..., :2] * CENTRE_VARIANCE * anchors[:, 2:]
    sizes = anchors[:, 2:] * np.exp(offsets[..., 2:] * SIZE_VARIANCE)
    return np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=-1)


def decode_points(offsets: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Regressed landmarks [N, 2·P] against anchors [N, 4] -> x y of each, [N, 2·P]."""
    points = (
        offsets.reshape(len(offsets), offsets.shape[1] // 2, 2) * CENTRE_VARIANCE * anchors[:, None, 2:]
        + anchors[:, None, :2]
    )
    return points.reshape(offsets.shape)


def best_boxes(
    offsets: np.ndarray,
    anchors: np.ndarray,
    scores: np.ndarray,
    candidate: float,
    overlap: float,
    keep: float,
    points: np.ndarray | None = None,
) -> np.ndarray:
    """Regressed offsets [N, 4], anchors [N, 4], scores [N] and, if any, regressed landmarks [N, 2·P] of one image ->
    detections float32 [M, 5 + 2·P], best first.

    Candidates score above `candidate`; NMS drops those that overlap a better one by more than `overlap` (IoU); what
    then scores above `keep` stays.
    """
    chosen = scores > candidate
    anchors, scores = anchors[chosen], scores[chosen]
    boxes = decode(offsets[chosen], anchors)
    points = boxes[:, :0] if points is None else decode_points(points[chosen], anchors)
    found = np.concatenate((boxes, scores[:, None], points), axis=1)
    corners_sizes = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1).astype(float)
    best = cv2.dnn.NMSBoxes(corners_sizes.tolist(), scores.tolist(), candidate, overlap)  # best first
    return found[[number for number in best if scores[number] > keep]]
