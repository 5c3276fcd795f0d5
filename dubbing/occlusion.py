"""What covers the mouth (a hand, a microphone, a cup) and must stay in front of the generated one.

A small network (`OcclusionNet`) sees it in each frame by itself, beside the median of the person's faces. What it
sees counts where the frame before had it close by; a single frame is not believed.
"""

import cv2
import numpy as np

from dubbing.paste import FaceRegion, soft_mask
from models.backend import OCCLUSION_SIZE as SIZE
from models.backend import Backend, load
from models.published import BUNDLED_OCCLUSION

OCCLUDED = 0.05  # hidden share of the mouth from which on a frame counts as occluded
# Probabilities of the network: the least maximum of an area that counts, its least value, and the value from which on
# it hides all
AREA_PEAK, AREA_EDGE, OPAQUE = 0.975, 0.5, 0.8
GAINS = (0.6, 1.6)  # the brightness of eyes and nose is matched within these factors
LEAST_SHARE = 0.03  # of the mouth; what covers less of it is taken for an error of the network
MAX_MOTION = 4  # pixels of SIZE; an occluder moves at most so far from frame to frame
FADE_FRAMES = 3  # frames over which it goes away
CUT_CHANGE = 25.0  # levels of 255 by which eyes and nose change on average where a new shot begins
SOFTNESS = 1.0 / 96  # of the result's edge, standard deviation in parts of the crop


def hidden_share(visible: np.ndarray) -> float:
    """How much of the mouth (dubbing.paste.soft_mask) is hidden, 0..1. visible: float32 [S, S], 0..1."""
    mask = soft_mask(visible.shape[0])
    return float(((1 - visible) * mask).sum() / mask.sum())


class OcclusionDetector:
    """Follows what covers the mouth of one person through one video; frames come in order.

    references: uint8 BGR [N, S, S, 3], upright crops of that person, evenly over the video; less than half of them may
    be covered. backend: name of the one that runs the network, on the CPU.
    """

    def __init__(self, references: np.ndarray, backend: str = "torch") -> None:
        (self._network,) = load("occlusion", BUNDLED_OCCLUSION, Backend(backend, "fp32", "cpu")).networks
        faces = [_reduced(face) for face in references]
        self._median = np.median(faces, axis=0).astype(np.uint8)
        clean = [face for face in faces if not self._covered(face).any()]  # most are not covered themselves
        if len(clean) >= len(faces) / 2:
            self._median = np.median(clean, axis=0).astype(np.uint8)
        self.reset()

    def reset(self) -> None:
        """Forget the frames so far: the next one is not from just after the last. A cut is noticed without this."""
        self._hidden = self._found = np.zeros((SIZE, SIZE), np.float32)
        self._last: np.ndarray | None = None

    def visible(self, shown: np.ndarray) -> np.ndarray:
        """Where the next frame shows the face itself. shown: uint8 BGR [S, S, 3], as the references -> float32 [S, S],
        1 where the face is seen, 0 where something covers it, with soft edges."""
        size, face = shown.shape[0], _reduced(shown)
        upper = cv2.cvtColor(face[: SIZE // 2], cv2.COLOR_BGR2GRAY).astype(np.float32)
        if self._last is not None and np.abs(upper - self._last).mean() > CUT_CHANGE:
            self.reset()
        self._last = upper
        found = self._covered(face)
        near_last = cv2.dilate(self._found, np.ones((2 * MAX_MOTION + 1, 2 * MAX_MOTION + 1), np.uint8))
        self._found = found
        faded = np.maximum(self._hidden - np.float32(1 / FADE_FRAMES), 0)
        self._hidden = np.maximum(np.minimum(found, near_last), faded)
        hidden = cv2.resize(self._hidden, (size, size), interpolation=cv2.INTER_CUBIC)
        return 1 - np.clip(cv2.GaussianBlur(hidden, (0, 0), SOFTNESS * size), 0, 1)

    def _covered(self, face: np.ndarray) -> np.ndarray:
        """How far each pixel is covered, 0..1, where that counts: float32 [SIZE, SIZE]."""
        median = self._median
        eyes = slice(SIZE // 6, SIZE // 2)
        gain = np.clip(median[eyes].mean() / max(face[eyes].mean(), 1), *GAINS)
        lit = np.clip(face * gain, 0, 255).astype(np.float32)
        seen = self._network(lit[None], median[None])[0]
        _, areas = cv2.connectedComponents((seen >= AREA_EDGE).astype(np.uint8))
        found = np.where(np.isin(areas, areas[seen >= AREA_PEAK]), np.minimum(seen / OPAQUE, 1), np.float32(0))
        return found if hidden_share(1 - found) >= LEAST_SHARE else np.zeros_like(found)


def _reduced(face: np.ndarray) -> np.ndarray:
    """uint8 BGR [SIZE, SIZE, 3]."""
    return cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


class Masks:
    """How much of the new face is shown where: what the style shows, less where something covers the face, less the
    farther the head is turned to the side. Call it in the order of the frames.

    occlusion: with --occlusion; occluded, turned: numbers of frames whose mask is smaller for these reasons.
    """

    def __init__(self, style: str, size: int, occlusion: OcclusionDetector | None) -> None:
        self.whole = soft_mask(size) if style == "soft" else np.ones((size, size), np.float32)
        self.occlusion = occlusion
        self.occluded = self.turned = 0

    def __call__(self, region: FaceRegion, shown: np.ndarray) -> np.ndarray:
        """float32 [S, S], 0..1; shown: the upright crop, uint8 BGR [S, S, 3]."""
        mask = self.whole
        if region.opacity < 1:
            mask = mask * np.float32(region.opacity)
            self.turned += 1
        if self.occlusion:
            visible = self.occlusion.visible(shown)
            mask = mask * visible
            self.occluded += hidden_share(visible) >= OCCLUDED
        return mask
