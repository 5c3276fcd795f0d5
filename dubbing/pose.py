"""How a head is turned, from the five landmarks of a detector, and how much of a dubbed mouth to show.

The eyes and the corners of the mouth lie in a plane, the tip of the nose in front of it. Seen from afar (orthographic
projection) at yaw a, where w is the half distance between left and right landmarks at the nose's height, and p how far
the nose protrudes:

    nose to midline:      p sin a                eye ---- midline ---- eye
    half distance shown:  w cos a                            |   nose
    tan a = (nose to midline / half distance) / (p / w)   mouth - midline - mouth

p is 20 mm (nasal tip protrusion, Farkas: Anthropometry of the Head and Face, 1994); w is 28 mm, between the halves of
the distance between the pupils (63 mm, Dodgson, SPIE 5291, 2004) and of the mouth's width (52 mm, Farkas).

Heads that lie on their side or upside down: neither detector was trained on these. They find most, but some with
upright landmarks and a wide box, and a head upside down looks upright to them. So roll and box raise a cheap suspicion,
and detecting in some frames, turned by each quarter, settles it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from face_detection.detectors import Detector
from face_detection.find import is_wide
from face_detection.track import Track, faces_of

LANDMARKS = slice(5, 15)  # columns of a detection: right eye, left eye, nose, right and left corner of the mouth, x y
PROTRUSION = 20 / 28  # of the nose, in half distances
FRONTAL, PROFILE = 45.0, 65.0  # degrees; the mouth is dubbed fully up to the first, not at all from the second
SMOOTH_FRAMES = 9  # angles are averaged over so many frames
SIDEWAYS = 60.0  # degrees of roll from which on a head lies
UNSURE = 0.98  # of the detector's score; upright heads mostly have more
USUAL_WIDTH = 0.8  # of the box of an upright head, in heights, at most
BETTER_FIT = 1.05  # a turn must fit so many times as well as none


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


def opacities(detections: list[np.ndarray], track: Track, window: int = SMOOTH_FRAMES) -> np.ndarray:
    """opacity of the tracked face in every frame: float32 [T]; 1 without a face.

    detections: float32 [N, 15] for each of T frames, or without landmarks [N, 5]; window: frames that angles are
    averaged over.
    """
    return opacity(_smooth(yaw, detections, track, window))


def tilts_of(detections: list[np.ndarray], track: Track, window: int = SMOOTH_FRAMES) -> np.ndarray:
    """By how many degrees the tracked face is turned clockwise in every frame: float64 [T]; 0 without a face.

    detections: float32 [N, 15] for each of T frames; window: frames that angles are averaged over.
    """
    return _smooth(tilt, detections, track, window)


def tilt(landmarks: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = landmarks[:4]  # the eyes
    return np.degrees(np.arctan2(y2 - y1, x2 - x1))


def _smooth(
    angle: Callable[[np.ndarray], np.ndarray], detections: list[np.ndarray], track: Track, window: int
) -> np.ndarray:
    """An angle of the tracked face's landmarks, averaged over `window` frames within each segment, 0 where there is no
    face: float64 [T]."""
    angles = np.full(len(detections), np.nan)
    for number, face in enumerate(faces_of(detections, track)):
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
    return best if fits[best] > BETTER_FIT * fits[0] else 0


def _fit(face: np.ndarray) -> float:
    """How well a face is found that stands upright, times its size."""
    width, height = face[2] - face[0], face[3] - face[1]
    roll = np.radians(tilt(face[LANDMARKS])) if len(face) >= LANDMARKS.stop else 0.0
    return float(face[4] * max(0.0, np.cos(roll)) * min(1.0, USUAL_WIDTH * height / max(width, 1e-6)))
