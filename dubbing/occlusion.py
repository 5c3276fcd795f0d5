"""What covers the mouth (a hand, a microphone) and must stay in front of the generated one, found without a network.

Crops of the same person, from all over the video, explain a frame where some of them show nearly the same there. What
covers the mouth is what they do not explain: a connected area that comes in over the edge of the crop, as opposed to an
open mouth, which lies inside. References that are covered themselves are told by what the majority shows. How well the
references explain each other, and the upper half of the frame, gives the threshold: a turned head, which they explain
badly everywhere, is no occlusion. In doubt the face counts as visible.
"""

import cv2
import numpy as np

from dubbing.paste import soft_mask

OCCLUDED = 0.05  # hidden share of the mouth from which on a frame counts as occluded

SIZE = 48  # pixels, side of the crops that are compared; lengths and areas below are in these pixels
TOP = 22  # rows above are not searched
UPPER = (slice(8, TOP), slice(8, 40))  # eyes and nose
PATCH = 5  # side of the patches over which differences are averaged
CHANNELS = (1, 2, 2)  # weights of the differences in Y, Cr and Cb
GAINS = (0.6, 1.6)  # brightness is matched within these factors
FEWEST = 12  # references; fewer do not show enough of the mouth's movements
SUPPORT = 3  # so many references must show the same for a patch to be explained
MAJORITY = 0.45  # share of the references that must, to tell which references are covered themselves
STEADY = 5.0  # levels; the shift that is allowed grows from 1 to LARGEST_SHIFT until most references differ by less
LARGEST_SHIFT = 3
# A difference is unexplained from the largest of these on, in weighted levels of 255
LEAST = 10.0
AMONG_REFERENCES = 2.0  # times the difference that the worst tenth of the references has at this pixel
ANYWHERE = 1.3  # times what the worst hundredth of all references and pixels has
OF_UPPER = 6.0  # times what the frame's eyes and nose have, but their worst UPPER_WORST
UPPER_WORST = 0.17
TYPICAL = 3.0  # for references, instead of the two before: times what the median of them has at this pixel
# What an occluder is
WEAK = 0.5  # part of the threshold that areas reach out to
LEAST_AREA = 45
LEAST_SHARE = 0.03  # of the mouth
LEAST_AT_EDGE = 5  # in the crop's outer tenth
OUTLINE = 0.3  # part of the largest difference around at which an occluder ends
GAP = 9  # holes and gaps between fingers narrower than this are filled
MOVE = 4  # an occluder moves at most so far from frame to frame
FADE_FRAMES = 3  # frames over which it goes away
CUT = 25.0  # levels by which eyes and nose change on average where a new shot begins
SOFTNESS = 1.5 / 96  # of the result's edge, standard deviation in parts of the crop


def hidden_share(visible: np.ndarray) -> float:
    """How much of the mouth (dubbing.paste.soft_mask) is hidden, 0..1. visible: float32 [S, S], 0..1."""
    mask = soft_mask(visible.shape[0])
    return float(((1 - visible) * mask).sum() / mask.sum())


class OcclusionDetector:
    """Follows what covers the mouth of one person through one video, whose frames it is shown in their order.

    references: uint8 BGR [N, S, S, 3], upright crops of that person, evenly over the video. N of 24 to 48 is best;
    fewer than FEWEST, or all the same, are no evidence, and the face is always visible. Less than half of them may be
    covered.
    """

    def __init__(self, references: np.ndarray) -> None:
        self._threshold: np.ndarray | None = None  # float32 [SIZE, SIZE]; None: no evidence
        self._hidden = np.zeros((SIZE, SIZE), np.float32)
        self._found = np.zeros((SIZE, SIZE), np.uint8)
        self._last: np.ndarray | None = None
        if len(references) >= FEWEST:
            self._learn(np.stack([_reduced(face) for face in references]))

    @property
    def has_evidence(self) -> bool:
        """Whether anything can be found."""
        return self._threshold is not None

    def reset(self) -> None:
        """Forget the frames so far: the next one is not from just after the last. A cut is noticed without this."""
        self._hidden, self._found, self._last = np.zeros_like(self._hidden), np.zeros_like(self._found), None

    def visible(self, shown: np.ndarray) -> np.ndarray:
        """Where the next frame shows the face itself. shown: uint8 BGR [S, S, 3], as the references -> float32 [S, S],
        1 where the face is seen, 0 where something covers it, with soft edges."""
        size = shown.shape[0]
        if self._threshold is None:
            return np.ones((size, size), np.float32)
        face = self._matched(_reduced(shown))
        upper = face[UPPER][..., 0].astype(np.float32)  # Y
        if self._last is not None and np.abs(upper - self._last).mean() > CUT:
            self.reset()
        self._last = upper
        differences = np.partition(self._differences(face), SUPPORT - 1, axis=2)[..., SUPPORT - 1]
        found = _occluders(differences, np.maximum(self._threshold, OF_UPPER * _upper_level(differences)))
        near_last = cv2.dilate(self._found, np.ones((2 * MOVE + 1, 2 * MOVE + 1), np.uint8))
        self._found = found.astype(np.uint8)
        faded = np.maximum(self._hidden - np.float32(1 / FADE_FRAMES), 0)
        self._hidden = np.where(found & (near_last > 0), np.float32(1), faded)
        if not self._hidden.any():
            return np.ones((size, size), np.float32)
        hidden = cv2.GaussianBlur(cv2.resize(self._hidden, (size, size)), (0, 0), SOFTNESS * size)
        return 1 - np.clip(hidden, 0, 1)

    def _learn(self, references: np.ndarray) -> None:
        """references: float32 BGR [N, SIZE, SIZE, 3]."""
        self._level = np.median(references[:, *UPPER], axis=0)
        faces = np.stack([self._matched(face) for face in references])  # [N, SIZE, SIZE, 3], YCrCb
        rank = max(SUPPORT - 1, int(MAJORITY * (len(faces) - 1)))
        for shift in range(1, LARGEST_SHIFT + 1):
            self._compare_with(faces, shift)
            among = np.stack([self._differences(face) for face in faces])  # [N, SIZE, SIZE, N]
            for n in range(len(faces)):
                among[n, :, :, n] = np.inf
            to_majority = np.partition(among, rank, axis=3)[..., rank]  # [N, SIZE, SIZE]
            typical = np.median(to_majority, axis=0)
            if np.percentile(typical[TOP:], 90) < STEADY:
                break
        threshold = _spread(np.maximum(LEAST, TYPICAL * typical))
        clean = np.array([
            not _occluders(each, np.maximum(threshold, OF_UPPER * _upper_level(each))).any()
            for each in to_majority
        ])  # fmt: skip
        if clean.sum() < len(faces) / 2:
            return
        best = np.partition(among[clean][..., clean], SUPPORT - 1, axis=3)[..., SUPPORT - 1]  # [N, SIZE, SIZE]
        if best.max() == 0:  # a still picture
            return
        mouth = soft_mask(SIZE) > 0.2
        least = max(LEAST, ANYWHERE * float(np.percentile(best[:, mouth], 99)))
        self._threshold = _spread(np.maximum(least, AMONG_REFERENCES * np.quantile(best, 0.9, axis=0)))
        self._compare_with(faces[clean], shift)

    def _matched(self, face: np.ndarray) -> np.ndarray:
        """float32 BGR [SIZE, SIZE, 3] -> uint8 YCrCb with the references' brightness around eyes and nose."""
        offset = 8  # levels; dark pixels have no say
        gains = np.clip(np.median((self._level + offset) / (face[UPPER] + offset), axis=(0, 1)), *GAINS)
        matched = np.clip(face * gains, 0, 255).astype(np.uint8)
        return cv2.cvtColor(cv2.GaussianBlur(matched, (3, 3), 0), cv2.COLOR_BGR2YCrCb)

    def _compare_with(self, faces: np.ndarray, shift: int) -> None:
        """The range of values that each face has up to `shift` pixels around: two uint8 [3, SIZE, SIZE, N]."""
        around = np.ones((2 * shift + 1, 2 * shift + 1), np.uint8)
        lowest = np.stack([cv2.erode(face, around) for face in faces], axis=-1)  # [SIZE, SIZE, 3, N]
        highest = np.stack([cv2.dilate(face, around) for face in faces], axis=-1)
        self._lowest = np.ascontiguousarray(np.moveaxis(lowest, 2, 0))
        self._highest = np.ascontiguousarray(np.moveaxis(highest, 2, 0))

    def _differences(self, face: np.ndarray) -> np.ndarray:
        """Of each patch of a face, uint8 YCrCb, to each reference: float32 [SIZE, SIZE, N], weighted levels."""
        total = np.zeros(self._lowest.shape[1:], np.float32)
        for channel, weight in enumerate(CHANNELS):
            values, low, high = face[..., channel, None], self._lowest[channel], self._highest[channel]
            outside = (np.maximum(low, values) - values) + (values - np.minimum(high, values))  # one of them is 0
            total += outside * np.float32(weight)
        return cv2.blur(total, (PATCH, PATCH))


def _reduced(face: np.ndarray) -> np.ndarray:
    return cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _spread(threshold: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.dilate(threshold.astype(np.float32), np.ones((5, 5), np.uint8)), (0, 0), 1.0)


def _upper_level(differences: np.ndarray) -> float:
    return float(np.quantile(differences[UPPER], 1 - UPPER_WORST))


def _occluders(differences: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Where the differences, float32 [SIZE, SIZE], show an occluder: bool [SIZE, SIZE]."""
    weak, strong = differences > WEAK * threshold, differences > threshold
    weak[:TOP] = strong[:TOP] = False
    occluders = np.zeros((SIZE, SIZE), np.uint8)
    if np.count_nonzero(strong) < LEAST_AREA // 2:
        return occluders > 0
    mask = soft_mask(SIZE)
    edge = np.ones((SIZE, SIZE), bool)
    edge[: round(0.93 * SIZE), round(0.1 * SIZE) : round(0.9 * SIZE)] = False
    count, labels, stats, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < LEAST_AREA:
            continue
        part = labels == label
        core = part & strong
        if (
            np.count_nonzero(core) >= LEAST_AREA // 2
            and mask[core].sum() >= LEAST_SHARE * mask.sum()
            and np.count_nonzero(part & edge) >= LEAST_AT_EDGE
        ):
            occluders[part] = 1
    # patches reach over the occluder's outline, where the difference falls to a part of that inside
    around = cv2.dilate(differences * occluders, np.ones((9, 9), np.uint8))
    occluders &= (differences > OUTLINE * around).astype(np.uint8)
    border = GAP - 1
    padded = cv2.copyMakeBorder(occluders, border, border, border, border, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (GAP, GAP)))
    return closed[border:-border, border:-border] > 0
