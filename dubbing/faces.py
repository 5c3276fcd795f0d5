"""Where the face to dub is, in every frame of one play of the video."""

import sys
from collections.abc import Generator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import torch

from dubbing import face_cache
from dubbing.face_cache import CachedFaces
from dubbing.options import Options
from dubbing.paste import FaceRegion
from dubbing.pipeline import prefetch
from dubbing.pose import frontal_weights, tilts_of
from dubbing.record import DUBBED, INTERPOLATED, UNCHANGED, Progress
from dubbing.references import FrameSampler
from dubbing.source import TOLERANCE, Source
from face_detection import build_detector, choose_detector, detector_identity
from face_detection.boxes import LONGEST_SIDE, Detector, unscaled
from face_detection.crop import pad_and_clip
from face_detection.find import find_faces
from face_detection.sparse import KEY_STEP
from face_detection.track import follow_face
from media import yuv
from media.shots import CutFinder, cuts_at
from utils.errors import InputError
from utils.geometry import Rect

MOUTH = 0.75  # where the mouth is, in parts of the box's height


@dataclass(frozen=True)
class FaceRegions:
    """regions: per frame of one play, None where there is no face to dub, or one for all frames; interpolated: which of
    them lie between detections; detector: its name, None for a box that was given; cached: whether nothing had to be
    detected; landmarks: whether these are known."""

    regions: list[FaceRegion | None]
    interpolated: list[bool]
    detector: str | None
    cached: bool
    landmarks: bool = False

    def at(self, number: int) -> tuple[FaceRegion | None, str]:
        """The region in a frame, and the state that this puts the frame in."""
        number = number if len(self.regions) > 1 else 0
        region = self.regions[number]
        if region is None:
            return None, UNCHANGED
        return region, INTERPOLATED if self.interpolated[number] else DUBBED


def find_regions(
    source: Source,
    pix_fmt: str,
    seconds: float,
    options: Options,
    device: torch.device,
    progress: Progress,
    sampler: FrameSampler | None = None,
) -> FaceRegions:
    """The face to dub in what is shown within `seconds`. Raises InputError where there is none. sampler: is given the
    frames, where the video is decoded for this."""
    if options.box:
        return FaceRegions([FaceRegion(_inside(options.box, source))], [False], None, False)
    wanted = options.align or options.occlusion  # landmarks, which tell tilted and turned heads
    detector = "retinaface" if wanted and options.face_detector == "auto" else choose_detector(options.face_detector)
    if options.align and detector != "retinaface":
        raise InputError("--align: needs the eyes, which --face_detector sfd does not find; use retinaface")
    landmarks = wanted and detector == "retinaface"
    path, seconds = None, min(seconds, source.length)
    if not options.no_cache:
        settings = {"landmarks": landmarks, "static": source.still, **vars(source.transform)}
        settings |= {"start": source.part[0]} if source.part else {}
        path = face_cache.cache_path(source.path, settings | detector_identity(detector))
    known = face_cache.read(path, seconds) if path else None
    cached = known is not None
    print(f"faces by {detector}" + (", as found before" if cached else ""), flush=True)
    if known is None:
        built = build_detector(detector, str(device), landmarks=landmarks)
        batches = (
            detector == "sfd" and device.type != "cpu"
        )  # elsewhere a batch is no faster, and stopping takes longer
        batch_size = options.face_det_batch_size if batches else 1
        known = _search(source, pix_fmt, seconds, built, batch_size, progress, sampler)
        _keep(known, path)
    faces = known.within(seconds)
    if len(faces.detections) < len(known.detections) and (len(faces.detections) - 1) % KEY_STEP:
        faces = _with_end_searched(faces, source, pix_fmt, build_detector(detector, str(device), landmarks=landmarks))
    cuts = cuts_at(faces.changes)
    track = follow_face(faces.detections, not options.nosmooth, cuts, options.face_at, options.face_index)
    count = len(track.boxes)
    tilts = tilts_of(faces.detections, track) if options.align else np.zeros(count)
    weights = frontal_weights(faces.detections, track) if options.occlusion else np.ones(count)
    regions = [
        _region(box, tilt, weight, options.pads, source) if found else None
        for box, tilt, weight, found in zip(track.boxes, tilts, weights, track.found, strict=True)
    ]
    if not any(regions):
        raise InputError(f"--face {source.path}: no face found in any frame; show one larger, or give its --box")
    return FaceRegions(regions, track.interpolated.tolist(), detector, cached, landmarks)


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


def _search(
    source: Source,
    pix_fmt: str,
    seconds: float,
    detector: Detector,
    batch_size: int,
    progress: Progress,
    sampler: FrameSampler | None,
) -> CachedFaces:
    times: list[float] = []
    scale, complete = 1.0, True

    def images() -> Generator[np.ndarray, None, None]:
        nonlocal scale, complete
        for frame in progress(source.once(pix_fmt), desc="faces", unit="frame", total=source.frames_once(seconds)):
            if frame.time > seconds - TOLERANCE:
                complete = False
                return
            times.append(frame.time)
            if sampler:
                sampler.add(frame)
            image, scale = yuv.reduced_bgr(frame.picture, LONGEST_SIDE)
            yield image

    cut_finder = CutFinder()
    found = find_faces(prefetch(cut_finder.watch(images()), KEY_STEP), detector, batch_size, sparse=True)
    detections = [unscaled(faces, scale) for faces in found.detections]
    return CachedFaces(
        detections, np.array(cut_finder.changes), np.array(times), min(inf if complete else seconds, source.length)
    )


def _with_end_searched(faces: CachedFaces, source: Source, pix_fmt: str, detector: Detector) -> CachedFaces:
    """The frames after the last key frame as they are found where the search ends with them: whether the video was ever
    searched further makes no difference."""
    count = len(faces.detections)
    first = (count - 1) // KEY_STEP * KEY_STEP
    frames = source.between(pix_fmt, faces.times.tolist(), first, count)
    images, scales = zip(*(yuv.reduced_bgr(frame.picture, LONGEST_SIDE) for frame in frames), strict=True)
    found = find_faces(images, detector, KEY_STEP, sparse=True)
    end = [unscaled(boxes, scales[0]) for boxes in found.detections]
    return faces._replace(detections=faces.detections[:first] + end)


def _keep(faces: CachedFaces, path: Path | None) -> None:
    try:
        if path:
            face_cache.write(path, faces)
    except OSError as error:
        print(f"faces are not kept for the next time: {error}", file=sys.stderr)
