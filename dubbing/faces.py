"""Where the face to dub is, in every frame of one play of the video."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import planar
from cli import InputError
from dubbing import face_cache
from dubbing.face_cache import Faces
from dubbing.paste import Spot
from dubbing.pipeline import ahead
from dubbing.source import TOLERANCE, Source
from face_detection import build_detector, choose
from face_detection.boxes import LONGEST_SIDE
from face_detection.crop import Rect, pad_and_clip
from face_detection.sparse import KEY_STEP, detect_sparsely
from face_detection.track import follow_face
from footage import CutFinder

EYES = slice(5, 9)  # columns of a detection: right eye x y, left eye x y
MOUTH = 0.75  # where the mouth is, in parts of the box's height
TILT_FRAMES = 9  # tilts are averaged over so many frames


@dataclass(frozen=True)
class Found:
    """spots: per frame of one play, None where there is no face to dub, or one for all frames; bridged: which of them
    lie between detections; detector: its name; cached: whether nothing had to be looked for."""

    spots: list[Spot | None]
    bridged: list[bool]
    detector: str | None
    cached: bool

    def at(self, number: int) -> tuple[Spot | None, str]:
        """The spot in a frame, and the state that this puts the frame in."""
        number = number if len(self.spots) > 1 else 0
        spot = self.spots[number]
        return spot, "passed" if spot is None else "bridged" if self.bridged[number] else "dubbed"


def find(source: Source, pix_fmt: str, seconds: float, args: argparse.Namespace, device) -> Found:
    """The face to dub in what is shown within `seconds`. Raises InputError where there is none."""
    if args.box:
        return Found([Spot(_inside(args.box, source))], [False], None, False)
    detector = "retinaface" if args.align and args.face_detector == "auto" else choose(args.face_detector)
    if args.align and detector != "retinaface":
        raise InputError("--align: needs the eyes, which --face_detector sfd does not find; use retinaface")
    settings = {"detector": detector, "landmarks": args.align, "static": source.still, **vars(source.shape)}
    place = None if args.no_cache else face_cache.place(source.path, settings)
    faces = face_cache.read(place, seconds) if place else None
    cached = faces is not None
    print(f"faces by {detector}" + (", as found before" if cached else ""), flush=True)
    if not cached:
        faces = _look(source, pix_fmt, seconds, build_detector(detector, str(device), landmarks=args.align), args)
        _keep(faces, place)
    track = follow_face(faces.detections, not args.nosmooth, faces.cuts, args.face_at, args.face_index)
    rects = [pad_and_clip(box, tuple(args.pads), source.height, source.width) for box in track.boxes]
    tilts = _tilts(faces.detections, track) if args.align else np.zeros(len(rects))
    spots = [
        Spot(rect, float(tilt)) if found and rect.usable and mouth_inside(box, source.height, source.width) else None
        for rect, tilt, found, box in zip(rects, tilts, track.found, track.boxes, strict=True)
    ]
    if not any(spots):
        raise InputError(f"--face {args.face}: no face found in any frame; show one larger, or give its --box")
    return Found(spots, track.bridged.tolist(), detector, cached)


def mouth_inside(box: np.ndarray, height: int, width: int) -> bool:
    """Whether the frame shows the mouth of a face in this box, which may reach beyond the frame."""
    x1, y1, x2, y2 = box
    return 0 <= (x1 + x2) / 2 < width and y1 + MOUTH * (y2 - y1) < height


def _inside(box: list[int], source: Source) -> Rect:
    top, bottom, left, right = box
    if not (0 <= top < bottom <= source.height and 0 <= left < right <= source.width):
        raise InputError(
            f"--box {top} {bottom} {left} {right}: does not lie inside the frame of {source.width}x{source.height}"
        )
    return Rect(left, top, right, bottom)


def _look(source: Source, pix_fmt: str, seconds: float, detector, args: argparse.Namespace) -> Faces:
    """All faces."""
    finder, scale, complete = CutFinder(), 1.0, True

    def images():
        nonlocal scale, complete
        total = 1 if source.still else min(source.frames_in(seconds, False), source.reader.frame_estimate or 10**9)
        for moment in tqdm(source.once(pix_fmt), desc="faces", unit="frame", total=total):
            if moment.time > seconds - TOLERANCE:
                complete = False
                return
            image, scale = planar.reduced_bgr(moment.picture, LONGEST_SIDE)
            yield image

    detections = [
        np.concatenate((found[:, :4] / scale, found[:, 4:5], found[:, 5:] / scale), axis=1)
        for found in detect_sparsely(finder.watch(ahead(images(), KEY_STEP)), detector, args.face_det_batch_size)
    ]
    return Faces(detections, finder.cuts(), seconds if not complete else float("inf"))


def _keep(faces: Faces, place: Path | None) -> None:
    try:
        if place:
            face_cache.write(place, faces)
    except OSError as error:
        print(f"faces are not kept for the next time: {error}", file=sys.stderr)


def _tilts(detections: list[np.ndarray], track) -> np.ndarray:
    """By how many degrees the tracked face is turned clockwise, smooth within each stretch: float [T]."""
    tilts = np.full(len(detections), np.nan)
    for number, (faces, box) in enumerate(zip(detections, track.boxes, strict=True)):
        if track.found[number] and len(faces):
            nearest = np.abs(faces[:, :4] - box).sum(axis=1).argmin()
            x1, y1, x2, y2 = faces[nearest, EYES]
            tilts[number] = np.degrees(np.arctan2(y2 - y1, x2 - x1))
    for segment in np.unique(track.segment[track.found]):
        frames = np.flatnonzero(track.segment == segment)
        known = frames[~np.isnan(tilts[frames])]
        values = np.interp(frames, known, tilts[known]) if len(known) else np.zeros(len(frames))
        reach = min(TILT_FRAMES // 2, len(frames) - 1)
        padded = np.pad(values, reach, mode="edge")
        tilts[frames] = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")
    return np.nan_to_num(tilts)
