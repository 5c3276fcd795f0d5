"""What mouths in footage show that small weights draw badly, measured in upright cut-outs: teeth, wide smiles, dark
beards, turned heads. docs/dubbing.md has the thresholds' origin.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from dubbing.pose import LANDMARKS, yaw

UNIT = 64  # pixels of a cut-out from the middle of the eyes to the middle of the mouth
SMALLEST = 20.0  # pixels of the frame that this is; less tells nothing
TEETH = 0.4  # how much brighter and less red than what is above and below, in parts of the skin's lightness
WIDE = 0.9  # width of a mouth in distances of the eyes: at rest 0.7 to 0.85
DARK = 0.72  # lightness of chin or upper lip in parts of the cheeks'
TURNED = 25.0  # degrees
FRONTAL = 20.0  # degrees up to which the mouth's width is believed


def limits(pictures: Sequence[np.ndarray], faces: Sequence[np.ndarray | None]) -> list[str]:
    """A phrase for each of these that the pictures, uint8 BGR [H, W, 3], show. faces: the
    detection in each, float32 [15], or None; small faces, and those without landmarks, are not counted."""
    seen = []
    for picture, face in zip(pictures, faces, strict=True):
        points = np.zeros((5, 2)) if face is None else face[LANDMARKS].reshape(5, 2).astype(np.float64)
        if _size(points) >= SMALLEST:
            seen.append(_look(picture, points))
    counts = np.sum(seen, axis=0, dtype=int) if seen else np.zeros(4, int)
    names = ("teeth", "a wide smile", "a dark beard or moustache", f"a head turned by more than {TURNED:g} degrees")
    return [f"{name} in {count} of {len(seen)} frames" for name, count in zip(names, counts, strict=True) if count]


def _size(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))


def _look(picture: np.ndarray, points: np.ndarray) -> tuple[bool, bool, bool, bool]:
    """teeth, smile, beard, turned. points: float [5, 2], eyes, nose, corners of the mouth."""
    cutout, points, angle = *_upright(picture, points), float(yaw(points.ravel()))
    lab = cv2.cvtColor(cutout.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    cheeks = [_around(lab, 0.45 * eye + 0.55 * corner) for eye, corner in zip(points[:2], points[3:], strict=True)]
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
    smile = abs(angle) < FRONTAL and width > WIDE * np.linalg.norm(points[1] - points[0])
    lightness = lab[..., 0]
    hair = [np.median(part(lightness, *rows)) for rows in ((-0.32, -0.2, 0.35), (0.38, 0.62, 0.3))]
    return bool(teeth), bool(smile), bool(min(hair) < DARK * skin), abs(angle) > TURNED


def _upright(picture: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face around the mouth, uint8 BGR [2·UNIT, 2·UNIT, 3], and the points in it."""
    across, mouth = (points[1] - points[0]) + (points[4] - points[3]), points[3:].mean(axis=0)
    turn = float(np.degrees(np.arctan2(across[1], across[0])))
    way = cv2.getRotationMatrix2D((float(mouth[0]), float(mouth[1])), turn, UNIT / _size(points))
    way[:, 2] += np.array([UNIT, 1.25 * UNIT]) - mouth
    cutout = cv2.warpAffine(picture, way, (2 * UNIT, 2 * UNIT), borderMode=cv2.BORDER_REPLICATE)
    return cutout, points @ way[:, :2].T + way[:, 2]


def _around(lab: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Lightness of some pixels there."""
    x, y = (max(5, int(value)) for value in place)
    return lab[y - 5 : y + 6, x - 5 : x + 6, 0].ravel()
