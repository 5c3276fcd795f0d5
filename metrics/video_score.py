"""How well lips and sound of one video fit, and how like its mouths are to those of a reference video.

The video is read twice at 25 frames a second, once for faces and once for what lies in them, and never held in memory.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from face_detection.boxes import Detector
from face_detection.crop import NO_PADS, crop, pad_and_clip
from face_detection.find import find_faces
from face_detection.track import Track, follow_face
from hparams import hparams
from media.reader import Frame, VideoReader, at_rate
from media.sound import read_audio, sound_clock
from metrics.detail import SMALLEST, gradient_distance, sharpness
from metrics.experts import Scorer
from metrics.likeness import likeness
from metrics.streaming import WindowStream
from metrics.sync_offset import MAX_SHIFT
from utils.errors import InputError, warn
from utils.images import Rect
from utils.progress import Progress

FPS = hparams.fps
SMALLEST_MOUTH = 7  # pixels, the window of the SSIM
DETAIL_SIDE = 192  # pixels, of the faces whose detail is compared: the same for both, whatever size they have


class FaceTrack(NamedTuple):
    track: Track
    cuts: list[int]


class Likeness(NamedTuple):
    """Of one frame to the reference's. l1, psnr, ssim: of the lower half of the face (metrics/likeness.py);
    gradient_distance, sharpness: of the mouth (metrics/detail.py); true_sharpness: the reference's."""

    l1: float
    psnr: float
    ssim: float
    gradient_distance: float
    sharpness: float
    true_sharpness: float


def score_video(
    video: Path,
    sound: Path,
    reference: Path | None,
    scorers: list[Scorer],
    detector: Detector,
    batch_size: int,
    audio_stream: int | None = None,
) -> dict:
    """What evaluate.py writes of one video. Raises InputError where it cannot be scored."""
    reader = VideoReader(video)
    heard: list[str] = []
    sounds = [_embed_sound(scorer, sound, reader, sound == video, audio_stream, heard) for scorer in scorers]
    for finding in heard:
        warn(f"{sound}: {finding}")
    faces = _track_face(reader, detector, batch_size)
    streams = [WindowStream(scorer) for scorer in scorers]
    likenesses = list(_add_frames(reader, faces, streams, reference))
    sync = [stream.result(embedded) for stream, embedded in zip(streams, sounds, strict=True)]
    if None in sync:
        raise InputError(
            f"{video}: too short to score: five frames in a row with a face, and sound {MAX_SHIFT} frames "
            "before and after them, are needed"
        )
    result = {
        "video": str(video),
        "sound": str(sound),
        "frames": len(faces.track.found),
        "faces": int(faces.track.found.sum()),
        "sync": sync,
    }
    if reference:
        if not likenesses:
            raise InputError(f"{reference}: shares no frame that has a face with {video}")
        result["reference"] = {"video": str(reference), "frames": len(likenesses)} | likeness_summary(likenesses)
    return result


def frame_likeness(image: np.ndarray, true: np.ndarray, box: np.ndarray) -> Likeness:
    """Of the face in the box: x1, y1, x2, y2. image, true: uint8 BGR [H, W, 3]."""
    mouth, faces = _lower_half(box, image), [_detail_face(picture, box) for picture in (image, true)]
    detail = gradient_distance(*faces), *(sharpness(face) for face in faces)
    return Likeness(*likeness(crop(image, mouth), crop(true, mouth)), *detail)


def likeness_summary(likenesses: list[Likeness]) -> dict[str, float]:
    """The means over frames; sharpness as the ratio of the means."""
    mean = Likeness(*np.mean(likenesses, axis=0).tolist())
    return {
        "l1": mean.l1, "psnr": mean.psnr, "ssim": mean.ssim, "gradient_distance": mean.gradient_distance,
        "sharpness_ratio": mean.sharpness / max(mean.true_sharpness, SMALLEST),
    }  # fmt: skip


def _embed_sound(
    scorer: Scorer,
    sound: Path,
    reader: VideoReader,
    own: bool,
    audio_stream: int | None = None,
    findings: list[str] | None = None,
) -> np.ndarray:
    """Sound begins with the video's first picture: the video's own, or that of another file, played along with it."""
    if own and not reader.has_sound:
        raise InputError(f"--video {sound}: has no sound track; give the speech with --audio")
    clock = reader.clock if own and audio_stream is None else sound_clock(sound, audio_stream)
    start = clock.sound_zero + (reader.start - reader.clock.zero if own else _late(reader))
    wav = read_audio(sound, scorer.hp.sample_rate, start, audio_stream, findings)
    if len(wav) < scorer.hp.win_size * 4:
        raise InputError(f"{sound}: its sound lasts {len(wav) / scorer.hp.sample_rate:.2f} s, too short to score")
    return scorer.embed_audio(wav)


def _late(reader: VideoReader) -> float:
    """Seconds by which the first picture is late for another file that is played along. Less than a picture is none:
    muxers put the first samples of an encoder, which are heard by nobody, before the first picture."""
    late = reader.start - reader.clock.zero
    return late if late >= 1 / reader.rate else 0.0


def _track_face(reader: VideoReader, detector: Detector, batch_size: int) -> FaceTrack:
    frames = _frames(reader, "faces", exact=False)
    detections, cuts = find_faces((frame.image for frame in frames), detector, batch_size)
    track = follow_face(detections, cuts=cuts)
    if not track.found.any():
        raise InputError(f"{reader.path}: no face found in any frame")
    return FaceTrack(track, cuts)


def _add_frames(
    reader: VideoReader, faces: FaceTrack, streams: list[WindowStream], reference: Path | None
) -> Iterator[Likeness]:
    """Add every frame to the streams; yields the mouths' likeness to those of the reference, frame by frame."""
    others: Iterable[Frame] = ()
    if reference:
        other_reader = VideoReader(reference)
        others = at_rate(other_reader.frames(), FPS, other_reader.start - _late(other_reader) + _late(reader))
    cuts = set(faces.cuts)
    pairs = zip(_frames(reader, "scoring"), chain(others, repeat(None)), strict=False)
    for number, (frame, other) in enumerate(pairs):
        found, box = faces.track.found[number], faces.track.boxes[number]
        for stream in streams:
            stream.add(number, stream.scorer.crop_face(frame.image, box) if found else None, number in cuts)
        mouth = _lower_half(box, frame.image)
        if other is not None and found and min(mouth.width, mouth.height) >= SMALLEST_MOUTH:
            height, width = frame.image.shape[:2]
            image = other.image if other.image.shape == frame.image.shape else cv2.resize(other.image, (width, height))
            yield frame_likeness(frame.image, image, box)
    for stream in streams:
        stream.flush()


def _frames(reader: VideoReader, stage: str, exact: bool = True) -> Iterator[Frame]:
    """The video at FPS, with a progress bar."""
    total = round(reader.frame_estimate / reader.rate * FPS) if reader.frame_estimate else None
    return iter(Progress(at_rate(reader.frames(exact), FPS), stage, unit="frame", total=total, leave=False))


def _detail_face(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """uint8 BGR [1, DETAIL_SIDE, DETAIL_SIDE, 3]."""
    face = crop(image, pad_and_clip(box, NO_PADS, *image.shape[:2]))
    way = cv2.INTER_AREA if len(face) > DETAIL_SIDE else cv2.INTER_CUBIC
    return cv2.resize(face, (DETAIL_SIDE, DETAIL_SIDE), interpolation=way)[None]


def _lower_half(box: np.ndarray, image: np.ndarray) -> Rect:
    rect = pad_and_clip(box, NO_PADS, *image.shape[:2])
    return rect._replace(y1=(rect.y1 + rect.y2) // 2)
