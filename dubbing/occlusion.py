"""What covers the mouth (a hand, a microphone, a cup) and must stay in front of the generated one.

A small network (models/occlusion.py) sees it in each frame by itself, beside the median of the person's faces. What it
sees counts where the frame before had it close by; a single frame is not believed.
"""

import cv2
import numpy as np
import torch

from dubbing.paste import soft_mask
from models.occlusion import SIZE, OcclusionNet
from models.published import BUNDLED_OCCLUSION
from utils import weight_files

OCCLUDED = 0.05  # hidden share of the mouth from which on a frame counts as occluded
SURE = 0.8  # probability from which on a pixel is covered
NEAREST = 5  # references that a face is seen beside
LEAST_SHARE = 0.03  # of the mouth; what covers less of it is taken for an error of the network
MOVE = 4  # pixels of SIZE; an occluder moves at most so far from frame to frame
FADE_FRAMES = 3  # frames over which it goes away
CUT = 25.0  # levels of 255 by which eyes and nose change on average where a new shot begins
SOFTNESS = 1.0 / 96  # of the result's edge, standard deviation in parts of the crop


def hidden_share(visible: np.ndarray) -> float:
    """How much of the mouth (dubbing.paste.soft_mask) is hidden, 0..1. visible: float32 [S, S], 0..1."""
    mask = soft_mask(visible.shape[0])
    return float(((1 - visible) * mask).sum() / mask.sum())


class OcclusionDetector:
    """Follows what covers the mouth of one person through one video, whose frames it is shown in their order.

    references: uint8 BGR [N, S, S, 3], upright crops of that person, evenly over the video; less than half of them may
    be covered. Without any the face is always visible.
    """

    def __init__(self, references: np.ndarray) -> None:
        self._network = _load_network()
        self._references = np.array([_reduced(face) for face in references], np.uint8).reshape(-1, SIZE, SIZE, 3)
        self._hidden = np.zeros((SIZE, SIZE), np.float32)
        self._found = np.zeros((SIZE, SIZE), np.float32)
        self._last: np.ndarray | None = None
        self._learn()

    @property
    def has_evidence(self) -> bool:
        """Whether anything can be found."""
        return len(self._references) > 0

    def reset(self) -> None:
        """Forget the frames so far: the next one is not from just after the last. A cut is noticed without this."""
        self._hidden, self._found, self._last = np.zeros_like(self._hidden), np.zeros_like(self._found), None

    def visible(self, shown: np.ndarray) -> np.ndarray:
        """Where the next frame shows the face itself. shown: uint8 BGR [S, S, 3], as the references -> float32 [S, S],
        1 where the face is seen, 0 where something covers it, with soft edges."""
        size = shown.shape[0]
        if not len(self._references):
            return np.ones((size, size), np.float32)
        face = _reduced(shown)
        upper = cv2.cvtColor(face[: SIZE // 2], cv2.COLOR_BGR2GRAY).astype(np.float32)
        if self._last is not None and np.abs(upper - self._last).mean() > CUT:
            self.reset()
        self._last = upper
        found = self._covered(face, self._beside(face))
        near_last = cv2.dilate(self._found, np.ones((2 * MOVE + 1, 2 * MOVE + 1), np.uint8))
        self._found = found
        faded = np.maximum(self._hidden - np.float32(1 / FADE_FRAMES), 0)
        self._hidden = np.maximum(np.minimum(found, near_last), faded)
        hidden = cv2.resize(self._hidden, (size, size), interpolation=cv2.INTER_CUBIC)
        return 1 - np.clip(cv2.GaussianBlur(hidden, (0, 0), SOFTNESS * size), 0, 1)

    def _learn(self) -> None:
        """Leave out the references that are covered themselves."""
        if not len(self._references):
            return
        median = np.median(self._references, axis=0).astype(np.uint8)
        covered = np.array([self._covered(face, median).any() for face in self._references])
        if covered.mean() < 0.5:  # else it is the network that does not know this face
            self._references = self._references[~covered]

    def _beside(self, face: np.ndarray) -> np.ndarray:
        """The median of the references nearest in their upper halves, which show the same pose."""
        upper = slice(0, SIZE // 2)
        differences = cv2.absdiff(
            self._references[:, upper], np.broadcast_to(face[upper], self._references[:, upper].shape)
        )
        nearest = np.argsort(differences.mean(axis=(1, 2, 3)))[:NEAREST]
        return np.median(self._references[nearest], axis=0).astype(np.uint8)

    @torch.inference_mode()
    def _covered(self, face: np.ndarray, median: np.ndarray) -> np.ndarray:
        """The network's probabilities where they count, else 0: float32 [SIZE, SIZE]."""
        faces, medians = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (face, median))
        found = self._network(faces, medians)[0].sigmoid().numpy()
        found[found < SURE] = 0
        return found if hidden_share(1 - found) >= LEAST_SHARE else np.zeros_like(found)


def _load_network() -> OcclusionNet:
    network = OcclusionNet()
    weight_files.load_into(network, weight_files.read(BUNDLED_OCCLUSION)["state_dict"], BUNDLED_OCCLUSION)
    return network.eval()


def _reduced(face: np.ndarray) -> np.ndarray:
    """uint8 BGR [SIZE, SIZE, 3]."""
    return cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
