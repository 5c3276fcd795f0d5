"""Heads that lie on their side: whether most of a video shows such, and how often the picture has to be turned.

Neither detector was trained on such heads. They find most, but the landmarks of some are upright all the same and the
box is wide then; a head upside down looks upright to them. So suspicion is cheap and comes from roll and box of what
is found anyway, and certainty from looking at some frames turned by each quarter.
"""

from collections.abc import Sequence

import numpy as np

from dubbing.pose import LANDMARKS, tilt
from face_detection.boxes import Detector
from face_detection.find import is_wide

SIDEWAYS = 60.0  # degrees of roll from which on a head lies
UNSURE = 0.98  # of the detector's score; upright heads mostly have more
USUAL_WIDTH = 0.8  # of the box of an upright head, in heights, at most
MARGIN = 1.05  # times as well as it stands another way must fit


def _suspect(face: np.ndarray) -> bool:
    """Whether a face, float32 [5], or with landmarks [15], may be of a head that lies on its side or upside down."""
    rolled = len(face) >= LANDMARKS.stop and abs(float(tilt(face[LANDMARKS]))) > SIDEWAYS
    return is_wide(face) or rolled or bool(face[4] < UNSURE)


def may_lie(faces: Sequence[np.ndarray]) -> bool:
    """Whether more than half of these detections of a person are so; quarter_turns tells for certain."""
    return 2 * sum(map(_suspect, faces)) > len(faces)


def quarter_turns(images: Sequence[np.ndarray], detector: Detector) -> int:
    """By how many quarter turns clockwise the heads in these pictures, BGR uint8 [H, W, 3], are made upright, 0 to 3; 0
    where no other way fits better."""
    fits = []
    for turns in range(4):
        found = detector.detect([np.ascontiguousarray(np.rot90(image, -turns)) for image in images])
        fits.append(sum(max(map(_fit, faces), default=0.0) for faces in found))
    best = int(np.argmax(fits))
    return best if fits[best] > MARGIN * fits[0] else 0


def _fit(face: np.ndarray) -> float:
    """How well a face is found that stands upright, times its size."""
    width, height = face[2] - face[0], face[3] - face[1]
    roll = np.radians(tilt(face[LANDMARKS])) if len(face) >= LANDMARKS.stop else 0.0
    return float(face[4] * max(0.0, np.cos(roll)) * min(1.0, USUAL_WIDTH * height / max(width, 1e-6)))
