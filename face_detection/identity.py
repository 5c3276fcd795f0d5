"""Who is who: the faces of several people, told apart through cuts, crossings and absences.

detections -- linked, split where faces begin or cease to touch --> pieces -- descriptors --> people

Ann  =========|== touching ==|===========   cut   =======
Ben  =========|== touching ==|====          cut           ========

People are numbered from the left in the first frame with the most faces; those who are not in it follow in the order in
which they appear. A piece belongs to the person whom it resembles most, by a margin, among those who are not in the
same frames already. Whoever resembles nobody is somebody new; where it is not sure who it is, it is nobody.

The descriptor is a grid of histograms of uniform local binary patterns (Ahonen, Hadid, Pietikainen: Face Description
with Local Binary Patterns, PAMI 2006). It needs no network; docs/dubbing.md compares it with others.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from face_detection.crop import overlaps
from face_detection.track import LINK_IOU, MAX_GAP, FaceNotFound, Track, Tracklet, filled, link

LOOKS = 5  # frames of a piece that are looked at
TOUCHING_FRAMES = 12  # most frames of a piece in which faces touch: who is who may change there
STRANGER = 0.72  # likeness between those of one person and of two
SURE = 0.02  # by which a person must be more alike than another
STEADY_FRAMES = 10  # fewest of a piece, in which no faces touch, that introduces somebody
SIDE, CELL, BLUR = 96, 12, 1.0  # pixels: of the aligned face, of a cell; sigma that makes resolutions alike
ALIGNED = np.array([[33, 44], [63, 44], [48, 61.5], [35.5, 79], [60.5, 79]])  # eyes, nose, corners of the mouth
IN_BOX = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.34, 0.78], [0.66, 0.78]])  # where they mostly are in a box
RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # y and x of a pixel's neighbours
CODES = np.arange(256)
CHANGES = np.unpackbits((CODES ^ (CODES >> 1 | (CODES & 1) << 7)).astype(np.uint8)[:, None], axis=1).sum(axis=1)
PATTERNS = np.where(CHANGES <= 2, np.cumsum(CHANGES <= 2), 0)  # uniform ones from 1, all others 0
NOBODY = -1

Pictures = Callable[[list[int]], Iterable[tuple[np.ndarray, float]]]


@dataclass(frozen=True)
class People:
    tracks: list[Track]  # by the people's numbers
    unsure: list[tuple[int, int]]  # first and last frame of the stretches in which it is not sure who somebody is
    frame: int  # that shows the most people
    faces: np.ndarray  # float32 [N, 5 or more], in it, from the left

    def chosen(self, wanted: Sequence[int | tuple[float, float]]) -> list[Track]:
        """The tracks of these people: their numbers, or points x, y on a face in the first frame that has it there.
        Raises FaceNotFound where there is nobody, or where two are one."""
        numbers = list[int]()
        for place in wanted:
            number = place if isinstance(place, int) else self._at(place)
            if number in numbers or not 0 <= number < len(self.tracks):
                named = place if isinstance(place, int) else f"{place[0]:g},{place[1]:g}"
                fault = "has two voices" if number in numbers else f"is not among the {len(self.tracks)} people seen"
                raise FaceNotFound(f"--voice {named}: this person {fault}", self.frame, self.faces)
            numbers.append(number)
        return [self.tracks[number] for number in numbers]

    def _at(self, point: tuple[float, float]) -> int:
        """The number of whoever is the first at this point; -1 where nobody ever is."""
        hits = [
            track.found & (track.boxes[:, :2] <= point).all(axis=1) & (track.boxes[:, 2:] >= point).all(axis=1)
            for track in self.tracks
        ]
        first = [hit.argmax() if hit.any() else len(hit) for hit in hits]
        return int(np.argmin(first)) if np.any(hits) else NOBODY


class Piece(NamedTuple):
    """Part of a tracklet in which the face touches another one all along, or never."""

    tracklet: int
    frames: np.ndarray  # int64 [n], ascending
    faces: np.ndarray  # float32 [n, 5 or more]
    touching: bool

    @property
    def steady(self) -> bool:
        return not self.touching and len(self.frames) >= STEADY_FRAMES

    def face_in(self, frame: int) -> np.ndarray:
        """float32 [5 or more]."""
        return self.faces[self.frames == frame][0]


def people_of(detections: list[np.ndarray], cuts: Collection[int], pictures: Pictures, smooth: bool = True) -> People:
    """Everybody's track.

    detections: float32 [N, 5 or more] (x1 y1 x2 y2 score) for each of T frames, at least one in all; cuts: frames that
    begin a new shot; pictures: takes ascending numbers of frames and gives of each the picture, uint8 BGR [H, W, 3],
    and the factor that it was scaled by.
    """
    pieces = _pieces(link(detections, cuts), detections)
    introducing = [piece for piece in pieces if piece.steady] or pieces
    frame = int(np.argmax(np.bincount(np.concatenate([piece.frames for piece in introducing]))))
    first = [n for n, piece in enumerate(pieces) if frame in piece.frames and (piece.steady or introducing is pieces)]
    first.sort(key=lambda n: pieces[n].face_in(frame)[0])
    alone = len(pieces) == len(first)  # nobody to compare with
    person = _assigned(pieces, np.eye(len(pieces)) if alone else _likeness(pieces, pictures), first)
    unsure = sorted({n for piece, who in zip(pieces, person, strict=True) if who == NOBODY for n in piece.frames})
    tracks = []
    for number in range(person.max() + 1):
        own = [piece for piece, who in zip(pieces, person, strict=True) if who == number]
        tracks.append(filled(_joined(own, cuts, unsure), len(detections), smooth))
    parts = np.split(np.array(unsure, int), np.flatnonzero(np.diff(unsure) > 1) + 1)
    stretches = [(int(part[0]), int(part[-1])) for part in parts if len(part) >= LOOKS]
    return People(tracks, stretches, frame, np.stack([pieces[n].face_in(frame) for n in first]))


def descriptor(picture: np.ndarray, face: np.ndarray) -> np.ndarray:
    """What the face looks like, float32 [D] of unit length. picture: uint8 BGR [H, W, 3]; face: a detection in it."""
    points = face[5:15].reshape(5, 2) if len(face) >= 15 else face[:2] + IN_BOX * (face[2:4] - face[:2])
    grey = cv2.cvtColor(_aligned(picture, points), cv2.COLOR_BGR2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), BLUR)
    codes = np.zeros((SIDE, SIDE), np.int64)
    for bit, (y, x) in enumerate(RING):
        codes |= (grey[y : y + SIDE, x : x + SIDE] >= grey[1:-1, 1:-1]).astype(np.int64) << bit
    count, cell = PATTERNS.max() + 1, np.arange(SIDE) // CELL
    bins = (cell[:, None] * (SIDE // CELL) + cell) * count + PATTERNS[codes]
    counts = np.bincount(bins.ravel(), minlength=(SIDE // CELL) ** 2 * count)
    return np.sqrt(counts / counts.sum()).astype(np.float32)


def _aligned(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face with its points as in ALIGNED, one pixel more at each side: uint8 BGR [SIDE + 2, SIDE + 2, 3]."""
    at, to = points @ (1, 1j), (ALIGNED + 1) @ (1, 1j)  # complex numbers turn and scale when multiplied
    centred = at - at.mean()
    factor = np.vdot(centred, to - to.mean()) / max(np.vdot(centred, centred).real, 1e-6)
    shrink = min(1.0, max(abs(factor), 8 / min(picture.shape[:2])))
    if shrink < 1:
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        factor, at = factor / shrink, at * shrink
    shift = to.mean() - factor * at.mean()
    way = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return cv2.warpAffine(picture, way, (SIDE + 2, SIDE + 2), borderMode=cv2.BORDER_REPLICATE)


def _pieces(tracklets: list[Tracklet], detections: list[np.ndarray]) -> list[Piece]:
    near = [found[(overlaps(found, found) > 0).sum(axis=1) > 1] for found in detections]  # those that touch others
    pieces = []
    for number, (frames, faces) in enumerate(tracklets):
        touching = [bool((near[n] == face).all(axis=1).any()) for n, face in zip(frames, faces, strict=True)]
        begin = 0
        for end in range(1, len(frames) + 1):
            full = touching[begin] and end - begin == TOUCHING_FRAMES
            if full or end == len(frames) or touching[end] != touching[begin]:
                pieces.append(Piece(number, frames[begin:end], faces[begin:end], touching[begin]))
                begin = end
    return pieces


def _likeness(pieces: list[Piece], pictures: Pictures) -> np.ndarray:
    """Of all pieces to each other, float32 [n, n], 1 for the same."""
    wanted: dict[int, list[tuple[int, np.ndarray]]] = {}  # by frame: numbers of pieces, and their faces
    for number, piece in enumerate(pieces):
        for k in np.unique(np.linspace(0, len(piece.frames) - 1, LOOKS + 2)[1:-1].astype(int)):
            wanted.setdefault(int(piece.frames[k]), []).append((number, piece.faces[k]))
    sums: dict[int, np.ndarray] = {}
    for frame, (picture, scale) in zip(sorted(wanted), pictures(sorted(wanted)), strict=True):
        for number, face in wanted[frame]:
            sums[number] = sums.get(number, 0) + descriptor(picture, face * scale)
    looks = np.stack([sums[number] / np.linalg.norm(sums[number]) for number in range(len(pieces))])
    return looks @ looks.T


def _assigned(pieces: list[Piece], likeness: np.ndarray, first: list[int]) -> np.ndarray:
    """The person of every piece, int [n], or NOBODY. first: the pieces of the people who are known, in their order."""
    begins, ends = (np.array([piece.frames[k] for piece in pieces]) for k in (0, -1))
    together = (begins[:, None] <= ends) & (begins <= ends[:, None])  # [n, n]: in the same frames
    steady = np.array([piece.steady for piece in pieces])
    person = np.full(len(pieces), NOBODY)
    alike = np.empty((len(pieces), 0))  # to everybody so far; -1 to those who are in the same frames

    def assign(number: int, who: int) -> None:
        person[number] = who
        if steady[number]:  # a person looks as in any of these
            alike[:, who] = np.where(alike[:, who] < 0, -1, np.maximum(alike[:, who], likeness[number]))
        alike[together[number], who] = -1

    def introduce(number: int) -> None:
        nonlocal alike
        alike = np.column_stack([alike, likeness[number]])
        assign(number, alike.shape[1] - 1)

    for number in first:
        introduce(number)
    while (rest := np.flatnonzero(person == NOBODY)).size:
        ranked = np.sort(np.column_stack([alike[rest], np.full(len(rest), STRANGER)]), axis=1)
        lead = np.where(alike[rest].max(axis=1) > STRANGER, ranked[:, -1] - ranked[:, -2], 0)
        if lead.max() > SURE:
            number = rest[lead.argmax()]
            assign(number, int(alike[number].argmax()))
        elif (new := rest[steady[rest] & (alike[rest].max(axis=1) < STRANGER)]).size:
            introduce(int(new[begins[new].argmin()]))
        else:
            break
    for number in np.flatnonzero(person[1:-1] == NOBODY) + 1:
        who, neighbours = person[number - 1], {pieces[n].tracklet for n in (number - 1, number, number + 1)}
        if len(neighbours) == 1 and who == person[number + 1] != NOBODY and alike[number, who] != -1:
            assign(number, who)
    return person


def _joined(pieces: list[Piece], cuts: Collection[int], unsure: Collection[int]) -> list[Tracklet]:
    """One person's pieces as tracklets: short gaps are closed where the face stays in place, nothing in them is unsure,
    and no shot begins."""
    joined: list[Tracklet] = []
    for piece in sorted(pieces, key=lambda piece: piece.frames[0]):
        if joined:
            (frames, faces), begin = joined[-1], piece.frames[0]
            gap = range(frames[-1] + 1, begin)
            near = len(gap) <= MAX_GAP and overlaps(faces[-1:], piece.faces[:1]).item() >= LINK_IOU
            if near and not any(n in unsure for n in gap) and not any(n in cuts for n in (*gap, begin)):
                joined[-1] = Tracklet(np.append(frames, piece.frames), np.concatenate([faces, piece.faces]))
                continue
        joined.append(Tracklet(piece.frames, piece.faces))
    return joined
