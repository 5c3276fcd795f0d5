"""Hands, microphones, cups, cloth and other things that come before a mouth, drawn at random.

Each is a picture, float32 BGR [S, S, 3] in levels 0..255, premultiplied, and its coverage, float32 [S, S] in 0..1.
Lengths are in parts of the crop of a face, in which the mouth is at about (0.5, 0.78).
"""

from collections.abc import Callable

import cv2
import numpy as np

CANVAS = 128  # pixels that things are drawn at
SKINS = np.array([(180, 200, 235), (140, 170, 220), (100, 135, 195), (70, 100, 160), (45, 65, 110), (30, 42, 75)])
Drawn = tuple[np.ndarray, np.ndarray]


class Canvas:
    """Parts laid over each other, each shaded as if it were round."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.picture = np.zeros((CANVAS, CANVAS, 3), np.float32)
        self.coverage = np.zeros((CANVAS, CANVAS), np.uint8)
        self.light = rng.uniform(-0.25, 0.25, 2)  # brighter towards this side, a length of the crop away
        self.roundness = rng.uniform(0.1, 0.5)

    def add(self, outline: np.ndarray, colour: np.ndarray) -> None:
        """outline: uint8 [CANVAS, CANVAS], 255 inside; colour: BGR, or such a picture."""
        x, y, width, height = cv2.boundingRect(outline)
        if not width:
            return
        part = slice(y, y + height), slice(x, x + width)
        depth = cv2.distanceTransform(outline, cv2.DIST_L2, 3)[part]
        rounded = 1 - self.roundness * (1 - np.sqrt(np.minimum(depth / (0.7 * depth.max() + 1e-6), 1)))
        rows, columns = np.mgrid[part].astype(np.float32) / CANVAS - 0.5
        shade = rounded * (1 + self.light[0] * columns + self.light[1] * rows)
        alpha = (outline[part] / np.float32(255))[..., None]
        colour = colour[part] if np.ndim(colour) == 3 else colour
        self.picture[part] += alpha * (colour * shade[..., None] - self.picture[part])
        self.coverage = np.maximum(self.coverage, outline)

    def capsule(self, points: np.ndarray, width: float, colour: np.ndarray) -> None:
        outline = np.zeros((CANVAS, CANVAS), np.uint8)
        scaled = np.rint(points * CANVAS * 16).astype(np.int32)
        cv2.polylines(outline, [scaled], False, 255, max(1, round(width * CANVAS)), cv2.LINE_AA, 4)
        self.add(outline, colour)

    def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
        outline = np.zeros((CANVAS, CANVAS), np.uint8)
        cv2.fillPoly(outline, [np.rint(points * CANVAS * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        self.add(outline, colour)

    def drawn(self, size: int) -> Drawn:
        coverage = cv2.resize(self.coverage, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return cv2.resize(self.picture, (size, size), interpolation=cv2.INTER_AREA), coverage


def target(rng: np.random.Generator) -> np.ndarray:
    """A place at the mouth, x and y."""
    return np.array((rng.normal(0.5, 0.13), rng.normal(0.77, 0.1)))


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Points [..., 2] turned about the origin."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array(((c, s), (-s, c)))


def skin_like(rng: np.random.Generator, face: np.ndarray) -> np.ndarray:
    """The colour of a cheek of the face, uint8 BGR [S, S, 3], or of another skin."""
    size = len(face)
    cheeks = face[size * 5 // 10 : size * 6 // 10, [size // 4, size // 3, size * 2 // 3, size * 3 // 4]]
    own = np.median(cheeks.reshape(-1, 3), axis=0)
    colour = own if rng.random() < 0.75 else SKINS[rng.integers(len(SKINS))]
    return np.clip(colour * rng.uniform(0.7, 1.2) * rng.uniform(0.93, 1.07, 3), 15, 250)


def hand(rng: np.random.Generator, face: np.ndarray) -> Canvas:
    """Fingers towards +x of its own axes, palm behind, then the forearm; some fingers bent or behind each other."""
    canvas, skin = Canvas(rng), skin_like(rng, face)
    scale, mirrored = rng.uniform(0.75, 1.25), rng.choice((-1, 1))
    angle = rng.normal(-np.pi / 2, 0.9) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi)
    forward = rng.uniform(-0.1, 0.45)  # what part of the hand lies at the mouth: palm .. finger tips
    origin = target(rng) - turned(np.array((forward * scale, 0.0)), angle)

    def place(points: list) -> np.ndarray:
        return origin + turned(np.array(points) * (1, mirrored) * scale, angle)

    def toned() -> np.ndarray:
        return skin * rng.uniform(0.92, 1.06)

    if rng.random() < 0.5:
        sleeve = toned() if rng.random() < 0.6 else rng.uniform(10, 240, 3)
        canvas.capsule(place([(-0.25, 0), (-1.2, rng.normal(0, 0.2))]), rng.uniform(0.2, 0.32) * scale, sleeve)
    half = rng.uniform(0.17, 0.23)
    palm = [
        (-0.22, -0.75 * half),
        (-0.05, -half),
        (0.14, -half),
        (0.17, 0),
        (0.12, half),
        (-0.05, half),
        (-0.22, 0.7 * half),
    ]
    spread, bend, closed = rng.uniform(0, 0.16), rng.normal(0, 0.25), rng.random() < 0.25
    width = half / 2 * rng.uniform(0.85, 1.05)
    fingers = []
    for n, length in enumerate((0.34, 0.40, 0.37, 0.28)):
        length *= rng.uniform(0.9, 1.1) * (rng.uniform(0.3, 0.6) if closed or rng.random() < 0.12 else 1)
        lean = spread * (n - 1.5) + rng.normal(0, 0.04)
        root = np.array((0.12, (n - 1.5) * half / 2))
        middle = root + 0.55 * length * np.array((np.cos(lean), np.sin(lean)))
        tip = middle + 0.45 * length * np.array((np.cos(lean + bend), np.sin(lean + bend)))
        fingers.append([root, middle, tip])
    lean = rng.uniform(0.2, 1.1)
    thumb = [np.array((-0.1, -0.7 * half))]
    thumb.append(thumb[0] + 0.16 * np.array((np.cos(lean), -np.sin(lean))))
    thumb.append(thumb[1] + 0.13 * np.array((np.cos(lean - 0.5), -np.sin(lean - 0.5))))
    canvas.polygon(place(palm), toned())
    for n in rng.permutation(4):
        canvas.capsule(place(fingers[n]), width * scale * rng.uniform(0.92, 1.05), toned())
    if rng.random() < 0.8:
        canvas.capsule(place(thumb), 1.15 * width * scale, toned())
    if rng.random() < 0.5:  # the back of the hand: nails
        for finger in fingers:
            canvas.capsule(
                place([finger[2], finger[2] + (finger[2] - finger[1]) * 0.1]), 0.5 * width * scale, toned() * 1.1
            )
    return canvas


def microphone(rng: np.random.Generator, face: np.ndarray) -> Canvas:
    canvas, colour = Canvas(rng), rng.uniform(10, 90, 3) if rng.random() < 0.7 else rng.uniform(10, 240, 3)
    top, radius, lean = target(rng), rng.uniform(0.07, 0.2), rng.normal(0, 0.5)
    canvas.capsule(
        np.array([top, top + np.array((np.sin(lean), np.cos(lean)))]), radius * rng.uniform(0.4, 1.2), colour * 0.8
    )
    canvas.capsule(np.array([top, top + 0.03]), 2 * radius, textured(rng, colour, face))
    return canvas


def cup(rng: np.random.Generator, face: np.ndarray) -> Canvas:
    canvas, colour = Canvas(rng), rng.uniform(20, 250, 3)
    width, height, taper = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.1)
    corners = np.array([(-1, 0), (1, 0), (taper, 1), (-taper, 1)]) * (width / 2, height)
    angle, top = rng.normal(0, 0.3), target(rng) - np.array((0, 0.08))
    canvas.polygon(top + turned(corners, angle), textured(rng, colour, face))
    rim = turned(np.array([(-width / 2, 0.01), (width / 2, 0.01)]), angle)
    canvas.capsule(top + rim, rng.uniform(0.01, 0.05), rng.uniform(20, 250, 3))
    return canvas


def cloth(rng: np.random.Generator, face: np.ndarray) -> Canvas:
    """From one side over the mouth, with a wavy edge."""
    canvas, colour = Canvas(rng), rng.uniform(10, 245, 3)
    along = np.linspace(-1, 1, 12)
    edge = np.stack((along, rng.normal(0, 0.03, 12) + rng.uniform(-0.1, 0.1) * along**2), axis=1)
    outline = np.concatenate((edge, [(1, 1.5), (-1, 1.5)]))
    angle = rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
    canvas.polygon(
        target(rng) + turned(outline + np.array((0, rng.uniform(-0.15, 0.1))), angle), textured(rng, colour, face)
    )
    return canvas


def anything(rng: np.random.Generator, face: np.ndarray) -> Canvas:
    """Bars, plates and blobs."""
    canvas, colour = Canvas(rng), rng.uniform(5, 250, 3) if rng.random() < 0.6 else skin_like(rng, face)
    middle, angle = target(rng), rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.4:
        away = turned(np.array((1.2, 0.0)), angle)
        ends = np.array([middle, middle + away]) if rng.random() < 0.6 else np.array([middle - away, middle + away])
        canvas.capsule(ends, rng.uniform(0.06, 0.35), textured(rng, colour, face))
    else:
        count = rng.integers(4, 9)
        turn = np.sort(rng.uniform(0, 2 * np.pi, count))
        radius = rng.uniform(0.12, 0.4) * rng.uniform(0.7, 1.3, count)
        points = np.stack((np.cos(turn), np.sin(turn)), axis=1) * radius[:, None]
        canvas.polygon(middle + turned(points, angle), textured(rng, colour, face))
    return canvas


def textured(rng: np.random.Generator, colour: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The colour as it is, or with grain or stripes, or a part of a face: BGR, or float32 [CANVAS, CANVAS, 3]."""
    kind = rng.random()
    if kind < 0.35:
        return colour
    if kind < 0.6:
        cells = int(rng.choice((6, 12, 24, 48, 96)))
        grain = rng.normal(0, rng.uniform(5, 40), (cells, cells, 1 if rng.random() < 0.7 else 3))
        return colour + cv2.resize(grain.astype(np.float32), (CANVAS, CANVAS)).reshape(CANVAS, CANVAS, -1)
    if kind < 0.8:
        rows, columns = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS
        turn = rng.uniform(0, np.pi)
        waves = np.sin(2 * np.pi * rng.uniform(2, 16) * (columns * np.cos(turn) + rows * np.sin(turn)))
        return colour + rng.uniform(5, 50) * waves[..., None]
    size, side = len(face), int(len(face) * rng.uniform(0.2, 0.7))
    y, x = rng.integers(0, size - side, 2)
    part = cv2.resize(np.rot90(face[y : y + side, x : x + side], int(rng.integers(4))), (CANVAS, CANVAS))
    return np.clip(part * rng.uniform(0.6, 1.4, 3), 0, 255)


KINDS: dict[Callable[[np.random.Generator, np.ndarray], Canvas], float] = {
    hand: 0.5, microphone: 0.12, cup: 0.1, cloth: 0.1, anything: 0.18
}  # fmt: skip


def draw(rng: np.random.Generator, face: np.ndarray, size: int) -> Drawn:
    """One of them before the face, uint8 BGR [S, S, 3], whose colours it may have."""
    kind = list(KINDS)[rng.choice(len(KINDS), p=list(KINDS.values()))]
    return kind(rng, face).drawn(size)
