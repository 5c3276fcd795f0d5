"""The face in some frames of a video, where looking at all takes too long: for a single picture, for a check."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubbing.faces import detector_for, given_box, region_of, who_is_there
from dubbing.options import Options
from dubbing.paste import FaceRegion, upright_crop
from dubbing.pose import LANDMARKS, opacity, tilt, yaw
from dubbing.source import Source, TimedFrame
from face_detection import RetinaFace, build_detector
from face_detection.boxes import LONGEST_SIDE, Detector, overlaps, unscaled
from face_detection.track import LINK_IOU, NobodyThere, Track, faces_of, follow_face
from media import yuv
from utils.errors import InputError


@dataclass(frozen=True)
class Samples:
    """frames: some of one play, with their own times; detections: float32 [N, 15] for each, boxes by the detector of
    the dub and landmarks, all 0 where there are none for a box; track: the person to dub in them, as he or she is
    followed through a whole video; seconds: that the detector took for a frame."""

    frames: list[TimedFrame]
    detections: list[np.ndarray]
    track: Track
    detector: str
    seconds: float

    def in_times(self, times: Sequence[float]) -> list[int]:
        """Numbers of the frames nearest to these times."""
        own = np.array([frame.time for frame in self.frames])
        return [int(np.abs(own - wanted).argmin()) for wanted in times]

    @property
    def followed(self) -> list[np.ndarray | None]:
        """The person's detection in every frame, float32 [15]; None where there is none."""
        faces = zip(faces_of(self.detections, self.track), self.track.interpolated, strict=True)
        return [None if between else face for face, between in faces]

    def regions(self, source: Source, options: Options) -> list[FaceRegion | None]:
        """Where the face to dub is in every frame, as dubbing/faces.py finds it but for smoothing. Raises InputError
        for a --box that reaches beyond the frame."""
        if options.box:
            return [FaceRegion(given_box(options.box, source))] * len(self.frames)
        regions: list[FaceRegion | None] = []
        for face, box in zip(self.followed, self.track.boxes, strict=True):
            if face is None:
                regions.append(None)
                continue
            points = face[LANDMARKS]
            turned = float(tilt(points)) if options.align else 0.0
            weight = float(opacity(yaw(points))) if options.occlusion else 1.0
            regions.append(region_of(box, turned, weight, options.pads, source))
        return regions

    def crops(self, regions: Sequence[FaceRegion | None]) -> list[np.ndarray]:
        """Upright crops of the face where it is, uint8 BGR [h, w, 3] of different sizes."""
        pairs = zip(self.frames, regions, strict=True)
        return [upright_crop(frame.picture, region) for frame, region in pairs if region is not None]


def look_at(frames: Sequence[TimedFrame], options: Options, device: str, faces_file: Path | None = None) -> Samples:
    """frames: at least one, in the order of their times. Raises InputError where --face_at or --face_index name nobody
    in them; the faces there are are drawn into faces_file then."""
    name, finder = detector_for(options), RetinaFace(landmarks=True)
    detector: Detector = finder if name == "retinaface" else build_detector(name, device)
    reduced = [yuv.reduced_bgr(frame.picture, LONGEST_SIDE) for frame in frames]
    _detected(detector, *reduced[0])  # the first one takes longer
    began = time.perf_counter()
    with_boxes = [_detected(detector, *pair) for pair in reduced]
    seconds = (time.perf_counter() - began) / len(frames)
    with_points = with_boxes if detector is finder else [_detected(finder, *pair) for pair in reduced]
    detections = [_with_landmarks(*pair) for pair in zip(with_boxes, with_points, strict=True)]
    try:
        track = follow_face(detections, False, (), options.face_at, options.face_index)
    except NobodyThere as error:
        frame = frames[error.frame]
        raise InputError(who_is_there(error, yuv.to_bgr(frame.picture), frame.time, faces_file)) from error
    return Samples(list(frames), detections, track, name, seconds)


def spread(seconds: float, count: int) -> list[float]:
    """That many times all over the seconds."""
    return ((np.arange(count) + 0.5) * seconds / max(count, 1)).tolist()


def _detected(detector: Detector, image: np.ndarray, scale: float) -> np.ndarray:
    return unscaled(detector.detect([image])[0], scale)


def _with_landmarks(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Boxes [N, 5] with the landmarks of the faces [M, 15] that they are; [N, 15] are returned as they are."""
    if boxes.shape[1] == LANDMARKS.stop:
        return boxes
    points = np.zeros((len(boxes), LANDMARKS.stop - LANDMARKS.start), np.float32)
    if len(boxes) and len(others):
        overlap = overlaps(boxes, others)
        known = overlap.max(axis=1) >= LINK_IOU
        points[known] = others[overlap.argmax(axis=1)[known], LANDMARKS]
    return np.concatenate([boxes, points], axis=1)
