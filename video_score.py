"""How well lips and sound of one video fit, and how like its mouths are to those of a reference video.

The video is read twice at 25 frames a second, once for faces and once for what lies in them, and never held in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

import scoring
from cli import InputError
from face_detection import detect_all
from face_detection.crop import Rect, cut, pad_and_clip
from face_detection.track import Track, follow_face
from footage import CutFinder
from hparams import hparams
from lips import Lips, sync_of
from sync_offset import MAX_SHIFT
from video import VideoReader, at_rate, read_audio

FPS = hparams.fps
SMALLEST_MOUTH = 7  # pixels, the window of the SSIM


class Faces(NamedTuple):
    track: Track
    cuts: list[int]


def evaluate(video: Path, sound: Path, reference: Path | None, scorers: list, detector, batch_size: int) -> dict:
    """What evaluate.py writes of one video. Raises InputError where it cannot be scored."""
    reader = VideoReader(video)
    heard = {scorer: _voice(scorer, sound, reader, sound == video) for scorer in scorers}
    faces = _find_faces(reader, detector, batch_size)
    readers = [Lips(scorer) for scorer in scorers]
    likenesses = list(_watch(reader, faces, readers, reference))
    result = {
        "video": str(video), "sound": str(sound), "frames": len(faces.track.found),
        "faces": int(faces.track.found.sum()), "sync": [sync_of(lips, heard[lips.scorer]) for lips in readers],
    }  # fmt: skip
    if None in result["sync"]:
        raise InputError(
            f"{video}: too short to score: five frames in a row with a face, and sound {MAX_SHIFT} frames "
            "before and after them, are needed"
        )
    if reference:
        if not likenesses:
            raise InputError(f"{reference}: shares no frame that has a face with {video}")
        values = dict(zip(("l1", "psnr", "ssim"), np.mean(likenesses, axis=0).tolist(), strict=True))
        result["reference"] = {"video": str(reference), "frames": len(likenesses)} | values
    return result


def _voice(scorer, sound: Path, reader: VideoReader, own: bool) -> torch.Tensor:
    """Sound of the video itself begins with its first picture; sound of another file with its own first sample."""
    wav = read_audio(sound, scorer.hp.sample_rate, reader.start if own else None)
    if len(wav) < scorer.hp.win_size * 4:
        raise InputError(f"{sound}: its sound lasts {len(wav) / scorer.hp.sample_rate:.2f} s, too short to score")
    return scorer.embed_voice(wav)


def _find_faces(reader: VideoReader, detector, batch_size: int) -> Faces:
    finder = CutFinder()
    frames = at_rate(reader.frames(exact=False), FPS)
    images = (frame.image for frame in tqdm(frames, desc="faces", unit="frame", leave=False, total=_total(reader)))
    detections = list(detect_all(finder.watch(images), detector, batch_size))
    cuts = finder.cuts()
    track = follow_face(detections, cuts=cuts)
    if not track.found.any():
        raise InputError(f"{reader.path}: no face found in any frame")
    return Faces(track, cuts)


def _watch(reader: VideoReader, faces: Faces, readers: list[Lips], reference: Path | None) -> Iterator[tuple]:
    """Show every frame to the readers; yields the mouths' likeness to those of the reference, frame by frame."""
    others = at_rate(VideoReader(reference).frames(), FPS) if reference else iter(())
    shown = tqdm(at_rate(reader.frames(), FPS), desc="scoring", unit="frame", leave=False, total=_total(reader))
    cuts = set(faces.cuts)
    for number, frame in enumerate(shown):
        found, box = faces.track.found[number], faces.track.boxes[number]
        for lips in readers:
            lips.see(number, lips.scorer.face(frame.image, box) if found else None, number in cuts)
        other = next(others, None)
        mouth = _lower_half(box, frame.image)
        if other is not None and found and min(mouth.x2 - mouth.x1, mouth.y2 - mouth.y1) >= SMALLEST_MOUTH:
            height, width = frame.image.shape[:2]
            image = other.image if other.image.shape == frame.image.shape else cv2.resize(other.image, (width, height))
            yield scoring.likeness(cut(frame.image, mouth), cut(image, mouth))
    for lips in readers:
        lips.finish()


def _total(reader: VideoReader) -> int | None:
    return round(reader.frame_estimate / reader.rate * FPS) if reader.frame_estimate else None


def _lower_half(box: np.ndarray, image: np.ndarray) -> Rect:
    rect = pad_and_clip(box, (0, 0, 0, 0), *image.shape[:2])
    return Rect(rect.x1, (rect.y1 + rect.y2) // 2, rect.x2, rect.y2)
