"""Where the face to dub is, in every frame of one play of the video."""

import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dubbing import face_cache
from dubbing.face_cache import CachedFaces
from dubbing.options import Options
from dubbing.paste import FaceRegion
from dubbing.pipeline import prefetch
from dubbing.pose import frontal_weights
from dubbing.record import DUBBED, INTERPOLATED, UNCHANGED, Progress
from dubbing.source import TOLERANCE, Source
from face_detection import build_detector, choose_detector, detector_identity
from face_detection.boxes import LONGEST_SIDE, Detector, unscaled
from face_detection.crop import pad_and_clip
from face_detection.find import find_faces
from face_detection.sparse import KEY_STEP
from face_detection.track import Track, follow_face
from media import yuv
from utils.errors import InputError
from utils.geometry import Rect

EYES = slice(5, 9)  # columns of a detection: right eye x y, left eye x y
MOUTH = 0.75  # where the mouth is, in parts of the box's height
TILT_FRAMES = 9  # tilts are averaged over so many frames


@dataclass(frozen=True)
class FaceRegions:
    """regions: per frame of one play, None where there is no face to dub, or one for all frames; interpolated: which of
    them lie between detections; detector: its name; cached: whether nothing had to be detected."""

    regions: list[FaceRegion | None]
    interpolated: list[bool]
    detector: str | None
    cached: bool

    def at(self, number: int) -> tuple[FaceRegion | None, str]:
        """The region in a frame, and the state that this puts the frame in."""
        number = number if len(self.regions) > 1 else 0
        region = self.regions[number]
        if region is None:
            return None, UNCHANGED
        return region, INTERPOLATED if self.interpolated[number] else DUBBED


def find_regions(
    source: Source, pix_fmt: str, seconds: float, options: Options, device: torch.device, progress: Progress
) -> FaceRegions:
    """The face to dub in what is shown within `seconds`. Raises InputError where there is none."""
    if options.box:
        return FaceRegions([FaceRegion(_inside(options.box, source))], [False], None, False)
    detector = "retinaface" if options.align and options.face_detector == "auto" else None
    detector = detector or choose_detector(options.face_detector)
    if options.align and detector != "retinaface":
        raise InputError("--align: needs the eyes, which --face_detector sfd does not find; use retinaface")
    landmarks = options.align or (options.occlusion == "on" and detector == "retinaface")
    path = None
    if not options.no_cache:
        settings = {"landmarks": landmarks, "static": source.still, **vars(source.transform)}
        path = face_cache.cache_path(source.path, settings | detector_identity(detector))
    faces = face_cache.read(path, seconds) if path else None
    cached = faces is not None
    print(f"faces by {detector}" + (", as found before" if cached else ""), flush=True)
    if faces is None:
        built = build_detector(detector, str(device), landmarks=landmarks)
        faces = _detect(source, pix_fmt, seconds, built, options.face_det_batch_size, progress)
        _keep(faces, path)
    track = follow_face(faces.detections, not options.nosmooth, faces.cuts, options.face_at, options.face_index)
    tilts = _tilts(faces.detections, track) if options.align else np.zeros(len(track.boxes))
    weights = frontal_weights(faces.detections, track) if options.occlusion == "on" else np.ones(len(track.boxes))
    regions = [
        _region(box, tilt, weight, options.pads, source) if found else None
        for box, tilt, weight, found in zip(track.boxes, tilts, weights, track.found, strict=True)
    ]
    if not any(regions):
        raise InputError(f"--face {source.path}: no face found in any frame; show one larger, or give its --box")
    return FaceRegions(regions, track.interpolated.tolist(), detector, cached)


def _region(
    box: np.ndarray, tilt: float, weight: float, pads: tuple[int, int, int, int], source: Source
) -> FaceRegion | None:
    rect = pad_and_clip(box, pads, source.height, source.width)
    shown = rect.usable and mouth_inside(box, source.height, source.width)
    return FaceRegion(rect, float(tilt), float(weight)) if shown else None


def mouth_inside(box: np.ndarray, height: int, width: int) -> bool:
    """Whether the frame shows the mouth of a face in this box, which may reach beyond the frame."""
    x1, y1, x2, y2 = box
    return bool(0 <= (x1 + x2) / 2 < width and y1 + MOUTH * (y2 - y1) < height)


def _inside(box: tuple[int, int, int, int], source: Source) -> Rect:
    top, bottom, left, right = box
    if not (0 <= top < bottom <= source.height and 0 <= left < right <= source.width):
        raise InputError(
            f"--box {top} {bottom} {left} {right}: does not lie inside the frame of {source.width}x{source.height}"
        )
    return Rect(left, top, right, bottom)


def _detect(
    source: Source, pix_fmt: str, seconds: float, detector: Detector, batch_size: int, progress: Progress
) -> CachedFaces:
    scale, complete = 1.0, True

    def images() -> Generator[np.ndarray, None, None]:
        nonlocal scale, complete
        for frame in progress(source.once(pix_fmt), desc="faces", unit="frame", total=source.frames_once(seconds)):
            if frame.time > seconds - TOLERANCE:
                complete = False
                return
            image, scale = yuv.reduced_bgr(frame.picture, LONGEST_SIDE)
            yield image

    found = find_faces(prefetch(images(), KEY_STEP), detector, batch_size, sparse=True)
    detections = [unscaled(faces, scale) for faces in found.detections]
    return CachedFaces(detections, found.cuts, float("inf") if complete else seconds)


def _keep(faces: CachedFaces, path: Path | None) -> None:
    try:
        if path:
            face_cache.write(path, faces)
    except OSError as error:
        print(f"faces are not kept for the next time: {error}", file=sys.stderr)


def _tilts(detections: list[np.ndarray], track: Track) -> np.ndarray:
    """By how many degrees the tracked face is turned clockwise, smooth within each segment: float [T]."""
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
