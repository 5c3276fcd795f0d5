"""What the five landmarks of a detector tell: how a head is turned, how much of a dubbed mouth to show, and what mouths
show that small weights draw badly (docs/dubbing.md has the thresholds' origin).

The eyes and the corners of the mouth lie in a plane, the tip of the nose in front of it. Seen from afar (orthographic
projection) at yaw a, where w is the half distance between left and right landmarks at the nose's height, and p how far
the nose protrudes:

    nose to midline:      p sin a                eye ---- midline ---- eye
    half distance shown:  w cos a                            |   nose
    tan a = (nose to midline / half distance) / (p / w)   mouth - midline - mouth

p is 20 mm (nasal tip protrusion, Farkas: Anthropometry of the Head and Face, 1994); w is 28 mm, between the halves of
the distance between the pupils (63 mm, Dodgson, SPIE 5291, 2004) and of the mouth's width (52 mm, Farkas).

Detectors find most heads that lie, but some with upright landmarks. So roll, box and score raise a cheap suspicion, and
detecting in some frames, turned by each quarter, settles it.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from face_detection.detectors import Detector
from face_detection.find import is_wide
from face_detection.track import Track

LANDMARKS = slice(5, 15)  # columns of a detection: right eye, left eye, nose, right and left corner of the mouth, x y
PROTRUSION = 20 / 28  # of the nose, in half distances
FRONTAL, PROFILE = 45.0, 65.0  # degrees; the mouth is dubbed fully up to the first, not at all from the second
SMOOTH_FRAMES = 9  # angles are averaged over so many frames
SIDEWAYS = 60.0  # degrees of roll from which on a head lies
UNSURE = 0.98  # of the detector's score; upright heads mostly have more
USUAL_WIDTH = 0.8  # of the box of an upright head, in heights, at most
BETTER_FIT = 1.05  # a turn must fit so many times as well as none
# What mouths show, measured in upright cut-outs
UNIT = 64  # pixels of a cut-out from the middle of the eyes to the middle of the mouth
SMALLEST_UNIT = 20.0  # pixels of the frame that this is; less tells nothing
TEETH = 0.4  # how much brighter and less red than what is above and below, in parts of the skin's lightness
WIDE_SMILE = 0.9  # width of a mouth in distances of the eyes: at rest 0.7 to 0.85
DARK_HAIR = 0.72  # lightness of chin or upper lip in parts of the cheeks'
TURNED_HEAD = 25.0  # degrees
WIDTH_BELIEVED = 20.0  # degrees up to which the mouth's width is believed


def yaw(landmarks: np.ndarray) -> np.ndarray:
    """By how many degrees faces are turned, -180..180, above 0 towards the right of the picture, whatever their roll.

    landmarks: [..., 10], x and y of right eye, left eye, nose, right and left corner of the mouth, in pixels -> float64
    [...]. Points that all coincide give 0.
    """
    points = np.asarray(landmarks, np.float64)
    right_eye, left_eye, nose, right_mouth, left_mouth = np.moveaxis(points.reshape(*points.shape[:-1], 5, 2), -2, 0)
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    across = (left_eye - right_eye) + (left_mouth - right_mouth)
    down = np.stack([-across[..., 1], across[..., 0]], axis=-1)
    height = _dot(mouth - eyes, down)
    at_nose = np.clip(_dot(nose - eyes, down) / np.where(height == 0, 1, height), 0, 1)  # 0 at the eyes, 1 at the mouth
    midline = eyes + at_nose[..., None] * (mouth - eyes)
    half_eyes, half_mouth = _dot(left_eye - right_eye, across) / 2, _dot(left_mouth - right_mouth, across) / 2
    half_distance = half_eyes + at_nose * (half_mouth - half_eyes)
    return np.degrees(np.arctan2(_dot(nose - midline, across) / PROTRUSION, half_distance))


def opacity(yaw: np.ndarray | float) -> np.ndarray:
    """1 for faces turned by up to FRONTAL degrees to either side, 0 from PROFILE on, smooth between: float32 [...]."""
    seen = np.clip((PROFILE - np.abs(yaw)) / (PROFILE - FRONTAL), 0, 1)
    return np.asarray(seen * seen * (3 - 2 * seen), np.float32)


def tilt(landmarks: np.ndarray) -> np.ndarray:
    """By how many degrees a face is turned clockwise."""
    x1, y1, x2, y2 = landmarks[:4]  # the eyes
    return np.degrees(np.arctan2(y2 - y1, x2 - x1))


def angles_of(
    angle: Callable[[np.ndarray], np.ndarray], followed: Sequence[np.ndarray | None], track: Track, window: int
) -> np.ndarray:
    """An angle (yaw, tilt) of the tracked face in every frame, averaged over `window` frames within each segment, 0
    where there is no face, and for faces without landmarks: float64 [T]. followed: face_detection.track.faces_of it."""
    angles = np.full(len(followed), np.nan)
    for number, face in enumerate(followed):
        if face is not None and len(face) >= LANDMARKS.stop:
            angles[number] = angle(face[LANDMARKS])
    for segment in np.unique(track.segment[track.found]):
        frames = np.flatnonzero(track.segment == segment)
        known = frames[~np.isnan(angles[frames])]
        if len(known):
            reach = min(window // 2, len(frames) - 1)
            padded = np.pad(np.interp(frames, known, angles[known]), reach, mode="edge")
            angles[frames] = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")
    return np.nan_to_num(angles)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=-1)


def may_lie(faces: Sequence[np.ndarray]) -> bool:
    """Whether more than half of these detections of a person, float32 [5 or 15], may be of a head that lies on its side
    or upside down; quarter_turns tells for certain."""

    def suspect(face: np.ndarray) -> bool:
        rolled = len(face) >= LANDMARKS.stop and abs(float(tilt(face[LANDMARKS]))) > SIDEWAYS
        return rolled or is_wide(face) or bool(face[4] < UNSURE)

    return 2 * sum(map(suspect, faces)) > len(faces)


def quarter_turns(images: Sequence[np.ndarray], detector: Detector) -> int:
    """By how many quarter turns clockwise the heads in these pictures, BGR uint8 [H, W, 3], are made upright, 0 to 3; 0
    where no other way fits better."""
    fits = []
    for turns in range(4):
        found = detector.detect([np.ascontiguousarray(np.rot90(image, -turns)) for image in images])
        fits.append(sum(max(map(_fit, faces), default=0.0) for faces in found))
    best = int(np.argmax(fits))
    return best if fits[best] > BETTER_FIT * fits[0] else 0


def _fit(face: np.ndarray) -> float:
    """How well a face is found that stands upright, times its size."""
    width, height = face[2] - face[0], face[3] - face[1]
    roll = np.radians(tilt(face[LANDMARKS])) if len(face) >= LANDMARKS.stop else 0.0
    return float(face[4] * max(0.0, np.cos(roll)) * min(1.0, USUAL_WIDTH * height / max(width, 1e-6)))


def limits(pictures: Sequence[np.ndarray], faces: Sequence[np.ndarray | None]) -> list[str]:
    """A phrase for each of these that the pictures, uint8 BGR [H, W, 3], show. faces: the
    detection in each, float32 [15], or None; small faces, and those without landmarks, are not counted."""
    seen = []
    for picture, face in zip(pictures, faces, strict=True):
        points = np.zeros((5, 2)) if face is None else face[LANDMARKS].reshape(5, 2).astype(np.float64)
        if _mouth_distance(points) >= SMALLEST_UNIT:
            seen.append(_shows(picture, points))
    counts = np.sum(seen, axis=0, dtype=int) if seen else np.zeros(4, int)
    turned = f"a head turned by more than {TURNED_HEAD:g} degrees"
    names = ("teeth", "a wide smile", "a dark beard or moustache", turned)
    return [f"{name} in {count} of {len(seen)} frames" for name, count in zip(names, counts, strict=True) if count]


def _mouth_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))


def _shows(picture: np.ndarray, points: np.ndarray) -> tuple[bool, bool, bool, bool]:
    """teeth, smile, beard, turned. points: float [5, 2], eyes, nose, corners of the mouth."""
    cutout, points, angle = *_upright(picture, points), float(yaw(points.ravel()))
    lab = cv2.cvtColor(cutout.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    cheeks = [_lightness(lab, 0.45 * eye + 0.55 * corner) for eye, corner in zip(points[:2], points[3:], strict=True)]
    skin = max(1.0, float(np.median(np.concatenate(cheeks))))
    width = float(points[4, 0] - points[3, 0])

    def part(values: np.ndarray, top: float, bottom: float, wide: float) -> np.ndarray:
        """Rows around the mouth's middle, in UNITs; columns, in widths of the mouth."""
        middle, half = points[3:].mean(axis=0), wide * width
        rows = slice(int(middle[1] + top * UNIT), int(middle[1] + bottom * UNIT))
        return values[rows, int(middle[0] - half) : int(middle[0] + half) + 1]

    # teeth are bright and hardly red, between lips or dark above and below
    white = cv2.GaussianBlur(lab[..., 0] - 2 * lab[..., 1], (0, 0), 1)
    bands = cv2.morphologyEx(white, cv2.MORPH_TOPHAT, np.ones((UNIT // 4, 1), np.uint8))
    teeth = np.percentile(part(bands, -0.1, 0.25, 0.28), 97) > TEETH * skin
    smile = abs(angle) < WIDTH_BELIEVED and width > WIDE_SMILE * np.linalg.norm(points[1] - points[0])
    lightness = lab[..., 0]
    hair = [np.median(part(lightness, *rows)) for rows in ((-0.32, -0.2, 0.35), (0.38, 0.62, 0.3))]
    return bool(teeth), bool(smile), bool(min(hair) < DARK_HAIR * skin), abs(angle) > TURNED_HEAD


def _upright(picture: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face around the mouth, uint8 BGR [2·UNIT, 2·UNIT, 3], and the points in it."""
    across, mouth = (points[1] - points[0]) + (points[4] - points[3]), points[3:].mean(axis=0)
    turn = float(np.degrees(np.arctan2(across[1], across[0])))
    way = cv2.getRotationMatrix2D((float(mouth[0]), float(mouth[1])), turn, UNIT / _mouth_distance(points))
    way[:, 2] += np.array([UNIT, 1.25 * UNIT]) - mouth
    cutout = cv2.warpAffine(picture, way, (2 * UNIT, 2 * UNIT), borderMode=cv2.BORDER_REPLICATE)
    return cutout, points @ way[:, :2].T + way[:, 2]


def _lightness(lab: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Lightness of some pixels there."""
    x, y = (max(5, int(value)) for value in place)
    return lab[y - 5 : y + 6, x - 5 : x + 6, 0].ravel()
