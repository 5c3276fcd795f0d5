"""Where the face to dub is, in every frame of one play of the video."""

import sys
from collections.abc import Generator
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from dubbing import face_cache
from dubbing.face_cache import CachedFaces
from dubbing.numbered import choice_in_words, faces_in_words, numbered_faces
from dubbing.options import Options
from dubbing.paste import FaceRegion
from dubbing.pose import may_lie, opacities, quarter_turns, tilts_of
from dubbing.record import DUBBED, INTERPOLATED, UNCHANGED, Progress
from dubbing.refining import FrameSampler
from dubbing.source import TOLERANCE, Source, TimedFrame
from dubbing.stages import prefetch
from face_detection import build_detector, choose_detector, detector_identity
from face_detection.boxes import LONGEST_SIDE, Detector, unscaled
from face_detection.crop import pad_and_clip
from face_detection.find import KEY_STEP, CutFinder, cuts_at, find_faces
from face_detection.track import NobodyThere, faces_of, follow_face, most_at_once
from media import yuv
from utils.errors import InputError, warn
from utils.images import Rect, write_png

MOUTH = 0.75  # where the mouth is, in parts of the box's height
FEW = 5  # frames that are looked at to check what was given or found


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
    device: str,
    progress: Progress,
    sampler: FrameSampler | None = None,
    faces_file: Path | None = None,
) -> FaceRegions:
    """The face to dub in what is shown within `seconds`. Raises InputError where there is none, where --face_at or
    --face_index name nobody, and where heads lie on their side but --align is not asked for.

    sampler: is given the frames, where the video is decoded for this; faces_file: PNG to write, with the faces there
    are, where nobody is named.
    """
    if options.box:
        box = given_box(options.box, source)
        _warn_of_empty_box(box, source, pix_fmt, seconds, options, device)
        return FaceRegions([FaceRegion(box)], [False], None, False)
    detector = detector_for(options)
    landmarks = detector == "retinaface"
    path, seconds = None, min(seconds, source.length)
    if not options.no_cache:
        settings = {"static": source.still, **vars(source.transform)}
        settings |= {"start": source.part[0]} if source.part else {}
        path = face_cache.cache_path(source.path, settings | detector_identity(detector))
    known = face_cache.read(path, seconds) if path else None
    cached = known is not None
    print(f"faces by {detector}" + (", as found before" if cached else ""), flush=True)
    if known is None:
        built = build_detector(detector, device, landmarks=landmarks)
        batches = detector == "sfd" and device != "cpu"  # elsewhere a batch is no faster, and stopping takes longer
        batch_size = options.face_det_batch_size if batches else 1
        known = _search(source, pix_fmt, seconds, built, batch_size, progress, sampler)
        _keep(known, path)
    faces = known.within(seconds)
    if len(faces.detections) < len(known.detections) and (len(faces.detections) - 1) % KEY_STEP:
        faces = _with_end_searched(faces, source, pix_fmt, build_detector(detector, device, landmarks=landmarks))
    if not any(map(len, faces.detections)):
        raise InputError(no_face(source, pix_fmt, seconds, options))
    cuts = cuts_at(faces.changes)
    try:
        track = follow_face(faces.detections, not options.nosmooth, cuts, options.face_at, options.face_index)
    except NobodyThere as error:
        (frame,) = source.read_range(pix_fmt, faces.times.tolist(), error.frame, error.frame + 1)
        raise InputError(who_is_there(error, yuv.to_bgr(frame.picture), frame.time, faces_file)) from error
    followed = [face for face in faces_of(faces.detections, track) if face is not None]
    if not options.align and may_lie(followed) and (advice := turning(source, pix_fmt, seconds, options)):
        raise InputError(f"--face {source.path}: {advice}")
    choice = choice_in_words(faces.detections, track, faces.times)
    if choice and options.face_at is None and options.face_index is None:
        print(choice, flush=True)
    count = len(track.boxes)
    tilts = tilts_of(faces.detections, track) if options.align else np.zeros(count)
    weights = opacities(faces.detections, track) if options.occlusion else np.ones(count)
    regions = [
        region_of(box, tilt, weight, options.pads, source) if found else None
        for box, tilt, weight, found in zip(track.boxes, tilts, weights, track.found, strict=True)
    ]
    if not any(regions):
        raise InputError(no_face(source, pix_fmt, seconds, options))
    return FaceRegions(regions, track.interpolated.tolist(), detector, cached, landmarks)


def detector_for(options: Options) -> str:
    """ "sfd" or "retinaface", as the options need it."""
    wanted = options.align or options.occlusion  # landmarks, which tell tilted and turned heads
    detector = "retinaface" if wanted and options.face_detector == "auto" else choose_detector(options.face_detector)
    if options.align and detector != "retinaface":
        raise InputError("--align: needs the eyes, which --face_detector sfd does not find; use retinaface")
    return detector


def region_of(
    box: np.ndarray, tilt: float, weight: float, pads: tuple[int, int, int, int], source: Source
) -> FaceRegion | None:
    """The region of a face's box; None where the frame does not show the mouth. A head that lies has a wide box, which
    is that of the upright crop turned by a quarter."""
    x1, y1, x2, y2 = box
    if 45 < abs(tilt) < 135:
        middle_x, middle_y, wide, high = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
        rect = pad_and_clip(
            (middle_x - high, middle_y - wide, middle_x + high, middle_y + wide), pads, source.height, source.width
        )
    else:
        rect = pad_and_clip(box, pads, source.height, source.width)
    shown = rect.usable and (tilt or mouth_inside(box, source.height, source.width))
    return FaceRegion(rect, float(tilt), float(weight)) if shown else None


def mouth_inside(box: np.ndarray, height: int, width: int) -> bool:
    """Whether the frame shows the mouth of a face in this box, which may reach beyond the frame."""
    x1, y1, x2, y2 = box
    return bool(0 <= (x1 + x2) / 2 < width and y1 + MOUTH * (y2 - y1) < height)


def no_face(source: Source, pix_fmt: str, seconds: float, options: Options) -> str:
    """That there is none, and what to do."""
    advice = (
        turning(source, pix_fmt, seconds, options) or "use footage that shows it larger, or give its place with --box"
    )
    if source.reader and source.reader.videos > 1:
        advice = f"the file has {source.reader.videos} videos; choose another by --video_stream"
    return f"--face {source.path}: no face found in any frame; {advice}"


def turning(source: Source, pix_fmt: str, seconds: float, options: Options) -> str | None:
    """That heads lie, and what makes them upright; None where they do not lie. Some frames are looked at."""
    images, _ = _glimpsed(source, pix_fmt, seconds)
    turns = quarter_turns(images, build_detector("retinaface", landmarks=True))
    if not turns:
        return None
    how = "is upside down" if turns == 2 else "lies on its side"
    degrees = 90 * ((turns + options.rotate) % 4)
    if degrees in (0, 90):
        return f"the head {how}; {'leave out' if options.rotate else 'use'} --rotate"
    instead = " and leave out --rotate" if options.rotate else ", which is more than --rotate does"
    align = "" if turns == 2 else ", or try --align"
    return f"the head {how}; turn the file by {degrees} degrees clockwise in a video editor{instead}{align}"


def _glimpsed(source: Source, pix_fmt: str, seconds: float) -> tuple[list[np.ndarray], float]:
    """Some frames from all over the video, as detectors take them, and their scale."""
    end = seconds if source.clock.picture is None else min(seconds, source.clock.picture.end)
    times = ((np.arange(FEW) + 0.5) * end / FEW).tolist()
    reduced = [yuv.reduced_bgr(frame.picture, LONGEST_SIDE) for frame in source.frames_at(pix_fmt, times, end / FEW)]
    return [image for image, _ in reduced], reduced[0][1] if reduced else 1.0


def _warn_of_empty_box(box: Rect, source: Source, pix_fmt: str, seconds: float, options: Options, device: str) -> None:
    """Say where faces are, if not in the box. A box is given where detectors fail, so that finding none says little."""
    try:
        detector = build_detector(options.face_detector, device)
    except InputError:  # this dub needs none
        return
    images, scale = _glimpsed(source, pix_fmt, seconds)
    found = [unscaled(faces, scale) for faces in detector.detect(images)] if images else []
    flag = f"--box {box.y1} {box.y2} {box.x1} {box.x2}"
    if not any(map(len, found)):
        warn(f"{flag}: no face is found there, nor elsewhere, in the {len(found)} frames looked at")
        return
    centres = np.concatenate([(faces[:, :2] + faces[:, 2:4]) / 2 for faces in found])
    inside = (centres >= (box.x1, box.y1)).all(axis=1) & (centres < (box.x2, box.y2)).all(axis=1)
    if not inside.any():
        _, people = most_at_once(found)
        warn(f"{flag}: no face is found there; faces are {faces_in_words(people)}")


def who_is_there(error: NobodyThere, picture: np.ndarray, time: float, faces_file: Path | None) -> str:
    """The error with the faces that there are, which are drawn into the file."""
    shown = ""
    if faces_file:
        write_png(faces_file, numbered_faces(picture, error.faces))
        shown = f"; see {faces_file}"
    return f"{error}; at {time:.2f} s faces are {faces_in_words(error.faces)}{shown}"


def given_box(box: tuple[int, int, int, int], source: Source) -> Rect:
    """That of --box: top, bottom, left, right. Raises InputError where it reaches beyond the frame."""
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

    def shown() -> Generator[TimedFrame, None, None]:
        nonlocal complete
        for frame in source.iter_once(pix_fmt):
            if frame.time > seconds - TOLERANCE:
                complete = False
                return
            yield frame

    def images() -> Generator[np.ndarray, None, None]:
        nonlocal scale
        for frame in progress(shown(), desc="faces", unit="frame", total=source.frames_once(seconds)):
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
    frames = source.read_range(pix_fmt, faces.times.tolist(), first, count)
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
