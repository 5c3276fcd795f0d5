"""Who is who: the faces of several people, told apart through cuts, crossings and absences.

detections -- linked while it is certain --> pieces -- descriptors --> people

Ann  =========|      |===========   cut   =======
Ben  =========|======|====          cut           ========
               crossing

People are numbered from the left in the first frame with the most faces, then in the order in which they appear. Pieces
belong to the person whom they resemble most, by a margin, of those who are not in the same frames already. Who
resembles nobody is somebody new; where it is not sure who it is, it is nobody.

The descriptor is a histogram of oriented gradients (Dalal, Triggs, CVPR 2005) of the face with eyes and mouth put in
the same place. It needs no network; docs/conversations.md compares it with others.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import cv2
import numpy as np

from face_detection.crop import overlaps
from face_detection.track import LINK_IOU, MAX_GAP, Track, Tracklet, filled

LOOKS = 5  # frames of a piece that are looked at
CLEAR = 2.0  # times that a face must overlap itself in the next frame as much as it overlaps any other
STRANGER = 0.69  # likeness: that of one person is mostly above, that of two mostly below
SURE = 0.015  # by which a person must be more alike than another
STEADY_FRAMES = 10  # fewest of a piece that introduces somebody
SIDE, CELL, BLUR = 96, 8, 2.0  # pixels: of the aligned face, of a cell; sigma that makes resolutions alike
BINS = 9  # of directions, in half a turn
ALIGNED = np.array([[33, 44], [63, 44], [48, 61.5], [35.5, 79], [60.5, 79]])  # eyes, nose, corners of the mouth
IN_BOX = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.34, 0.78], [0.66, 0.78]])  # where they mostly are in a box
NOBODY = -1
Pictures = Callable[[list[int]], Iterable[tuple[np.ndarray, float]]]


class People(NamedTuple):
    tracks: list[Track]  # by the people's numbers
    unsure: list[tuple[int, int]]  # first and last frame of the stretches in which it is not sure who somebody is
    frame: int  # that shows the most people
    faces: np.ndarray  # float32 [N, 5 or more], in it, from the left


def people_of(detections: list[np.ndarray], cuts: Collection[int], pictures: Pictures, smooth: bool = True) -> People:
    """Everybody's track.

    detections: float32 [N, 5 or more] (x1 y1 x2 y2 score) for each of T frames, at least one in all; cuts: frames that
    begin a new shot; pictures: takes ascending numbers of frames and gives of each the picture, uint8 BGR [H, W, 3],
    and the factor that it was scaled by.
    """
    pieces = _pieces(detections, cuts)
    steady = {n for n, piece in enumerate(pieces) if len(piece.frames) >= STEADY_FRAMES} or set(range(len(pieces)))
    frame = int(np.argmax(np.bincount(np.concatenate([pieces[n].frames for n in steady]))))
    shown = {n: pieces[n].faces[pieces[n].frames == frame][0] for n in steady if frame in pieces[n].frames}
    first = sorted(shown, key=lambda n: shown[n][0])
    likeness = _likeness(pieces, pictures) if len(pieces) > len(first) else np.eye(len(pieces))
    person = _assigned(pieces, likeness, first)
    assigned = list(zip(pieces, person, strict=True))
    unsure = sorted({n for piece, who in assigned if who == NOBODY for n in piece.frames})
    people = [[piece for piece, who in assigned if who == number] for number in range(person.max() + 1)]
    tracks = [filled(_joined(own, set(cuts), set(unsure)), len(detections), smooth) for own in people]
    parts = np.split(np.array(unsure, int), np.flatnonzero(np.diff(unsure) > 1) + 1)
    stretches = [(int(part[0]), int(part[-1])) for part in parts if len(part) >= LOOKS]
    return People(tracks, stretches, frame, np.stack([shown[n] for n in first]))


def descriptor(picture: np.ndarray, face: np.ndarray) -> np.ndarray:
    """What the face looks like, float32 [D] of unit length. picture: uint8 BGR [H, W, 3]; face: a detection in it."""
    points = face[5:15].reshape(5, 2) if len(face) >= 15 else face[:2] + IN_BOX * (face[2:4] - face[:2])
    grey = cv2.cvtColor(_aligned(picture, points), cv2.COLOR_BGR2GRAY).astype(np.float32)
    rise, run = np.gradient(cv2.GaussianBlur(grey, (0, 0), BLUR))
    angle = np.arctan2(rise, run) % np.pi * (BINS / np.pi)  # in bins
    lower, cell, cells = angle.astype(int), np.arange(SIDE) // CELL, SIDE // CELL
    place = (cell[:, None] * cells + cell) * BINS
    grid = np.zeros(cells * cells * BINS)
    for bins, share in ((lower, 1 - angle + lower), (lower + 1, angle - lower)):
        grid += np.bincount((place + bins % BINS).ravel(), (share * np.hypot(rise, run)).ravel(), len(grid))
    tiles = grid.reshape(cells, cells, BINS)
    blocks = np.concatenate([tiles[:-1, :-1], tiles[1:, :-1], tiles[:-1, 1:], tiles[1:, 1:]], axis=2)
    blocks /= np.linalg.norm(blocks, axis=2, keepdims=True) + 1  # whatever the light is there
    return (blocks.ravel() / (np.linalg.norm(blocks) + 1e-6)).astype(np.float32)


def _aligned(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face with its points as in ALIGNED: uint8 BGR [SIDE, SIDE, 3]."""
    at, to = points @ (1, 1j), ALIGNED @ (1, 1j)  # complex numbers turn and scale when multiplied
    centred = at - at.mean()
    factor = np.vdot(centred, to - to.mean()) / max(np.vdot(centred, centred).real, 1e-6)
    shrink = min(1.0, max(abs(factor), 8 / min(picture.shape[:2])))
    if shrink < 1:
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        factor, at = factor / shrink, at * shrink
    shift = to.mean() - factor * at.mean()
    way = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return cv2.warpAffine(picture, way, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def _pieces(detections: list[np.ndarray], cuts: Collection[int]) -> list[Tracklet]:
    """Faces linked by overlap. Where one overlaps two, as when people cross, their pieces end."""
    pieces: list[tuple[list[int], list[np.ndarray]]] = []
    live = list[int]()
    for frame, found in enumerate(detections):
        live = [n for n in live if frame not in cuts and frame - pieces[n][0][-1] <= MAX_GAP + 1]
        overlap = overlaps(np.stack([pieces[n][1][-1] for n in live]), found) if live else np.zeros((1, len(found)))
        now = []
        for column, face in enumerate(found):
            row = overlap[:, column].argmax()
            others = np.concatenate([np.delete(overlap[:, column], row), np.delete(overlap[row], column)])
            if overlap[row, column] >= max(LINK_IOU, CLEAR * others.max(initial=0)):
                now.append(live[row])
            else:
                now.append(len(pieces))
                pieces.append(([], []))
            pieces[now[-1]][0].append(frame)
            pieces[now[-1]][1].append(face)
        alone = overlap.max(axis=1, initial=0) == 0  # out of sight, with nobody in their place
        live = now + [n for n, kept in zip(live, alone, strict=False) if kept]
    return [Tracklet(np.array(frames), np.stack(faces)) for frames, faces in pieces]


def _likeness(pieces: list[Tracklet], pictures: Pictures) -> np.ndarray:
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


def _assigned(pieces: list[Tracklet], likeness: np.ndarray, first: list[int]) -> np.ndarray:
    """The person of every piece, int [n], or NOBODY. first: the pieces of the people who are known, in their order."""
    begins, ends = (np.array([piece.frames[k] for piece in pieces]) for k in (0, -1))
    together = (begins[:, None] <= ends) & (begins <= ends[:, None])  # [n, n]: in the same frames
    steady = np.array([len(piece.frames) >= STEADY_FRAMES for piece in pieces])
    person, alike = np.full(len(pieces), NOBODY), np.empty((len(pieces), 0))  # alike to everybody who is known
    while (rest := np.flatnonzero(person == NOBODY)).size:
        best = alike[rest].max(axis=1, initial=-1)
        ranked = np.sort(np.column_stack([alike[rest], np.full((len(rest), 2), STRANGER)]), axis=1)
        lead, new = ranked[:, -1] - ranked[:, -2], rest[steady[rest] & (best < STRANGER)]
        if alike.shape[1] < len(first):
            number, who = first[alike.shape[1]], alike.shape[1]
        elif lead.max() > SURE:
            number = int(rest[lead.argmax()])
            who = int(alike[number].argmax())
        elif new.size:
            number, who = int(new[begins[new].argmin()]), alike.shape[1]
        else:
            break
        if who == alike.shape[1]:
            alike = np.column_stack([alike, likeness[number]])
        elif steady[number]:  # a person looks as in any of these
            alike[:, who] = np.where(alike[:, who] < 0, -1, np.maximum(alike[:, who], likeness[number]))
        person[number], alike[together[number], who] = who, -1  # nobody is twice in a frame
    return person


def _joined(pieces: list[Tracklet], cuts: set[int], unsure: set[int]) -> list[Tracklet]:
    """One person's pieces, joined over short gaps in which the face stays in place and nothing is unsure."""
    joined: list[Tracklet] = []
    for piece in sorted(pieces, key=lambda piece: piece.frames[0]):
        frames, faces = joined[-1] if joined else piece
        gap = range(frames[-1] + 1, piece.frames[0])
        steady = len(gap) <= MAX_GAP and overlaps(faces[-1:], piece.faces[:1]).item() >= LINK_IOU
        if joined and steady and cuts.isdisjoint((*gap, piece.frames[0])) and unsure.isdisjoint(gap):
            joined[-1] = Tracklet(np.append(frames, piece.frames), np.concatenate([faces, piece.faces]))
        else:
            joined.append(piece)
    return joined
