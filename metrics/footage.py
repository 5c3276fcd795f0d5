"""What is wrong with footage of a talking face, by facts that are measured: for training on it, and for dubbing it."""

from collections.abc import Mapping

import cv2
import numpy as np

LITTLE_FACE = 0.9  # share of the frames with a face
SMALL_FACE = 64  # pixels of face height
BLURRED = 40.0  # variance of the Laplacian; sharp footage has 100 to 300, the same blurred by 1.5 pixels some 17
LITTLE_SPEECH = 0.3  # share of the time
SHORT_SHOT = 2.0  # seconds
SEVERAL_PEOPLE = 0.2  # share of the frames
ON_SIDE = 0.3  # share of the frames; of upright heads there are none, of sideways ones half and more


def remarks(facts: Mapping[str, float], advice: Mapping[str, str]) -> list[str]:
    """What is wrong, each with what to do about it, in the order of what matters most.

    facts: face_share, on_side, several_people (shares of frames), cuts (a number), face_height (pixels), sharpness,
    speech_share (of the time); those that are not known are left out. advice: what to do, by the same names.
    """
    known = {name: (test, words) for name, (test, words) in CASES.items() if name in facts}
    return [f"{words(facts[name])}: {advice[name]}" for name, (test, words) in known.items() if test(facts[name])]


def cuts_in_words(cuts: float) -> str:
    return f"{cuts:.0f} hard {'cut' if cuts == 1 else 'cuts'}"


CASES = {
    "face_share": (lambda share: share < LITTLE_FACE, lambda share: f"face in {share:.0%} of the frames"),
    "on_side": (lambda share: share > ON_SIDE, lambda share: f"head on its side in {share:.0%} of the frames"),
    "several_people": (
        lambda share: share > SEVERAL_PEOPLE,
        lambda share: f"several people in {share:.0%} of the frames",
    ),
    "cuts": (lambda cuts: cuts > 0, cuts_in_words),
    "face_height": (lambda height: height < SMALL_FACE, lambda height: f"small face ({height:.0f} px high)"),
    "sharpness": (lambda sharpness: sharpness < BLURRED, lambda sharpness: "blurred face"),
    "speech_share": (lambda share: share < LITTLE_SPEECH, lambda share: f"speech in {share:.0%} of the time"),
}


def sharpness(faces: np.ndarray) -> float:
    """Variance of the Laplacian of grey levels (0..255), mean over faces: uint8 BGR [N, S, S, 3] at the network's
    size."""
    greys = [cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in faces]
    return float(np.mean([cv2.Laplacian(grey, cv2.CV_32F).var() for grey in greys]))
