"""How well lips and sound of videos fit, and how like their mouths are to those of reference videos.

A video is read twice at 25 frames a second, once for faces and once for what lies in them, and never held in memory.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from face_detection import build_detector
from face_detection.crop import NO_PADS, crop, pad_and_clip
from face_detection.detectors import Detector
from face_detection.find import CutFinder, find_faces
from face_detection.track import Track, follow_face
from hparams import hparams
from media.opening import videos_among
from media.reader import Frame, VideoReader, at_rate
from media.sound import read_audio, sound_clock
from metrics import EvaluationOptions
from metrics.published_syncnet import load_scorer
from metrics.similarity import MIN_LEVELS, gradient_distance, likeness, mouth_sharpness
from metrics.sync import MAX_SHIFT, Scorer, SyncResult, WindowStream
from models.published import default_scorers
from utils.devices import pick_device
from utils.errors import InputError, format_error, warn
from utils.files import read_table
from utils.images import Rect
from utils.progress import Progress

FPS = hparams.fps
MIN_MOUTH = 7  # pixels, the window of the SSIM
DETAIL_SIDE = 192  # pixels, of the faces whose detail is compared: the same for both, whatever size they have


class Pair(NamedTuple):
    """What is scored."""

    video: Path
    audio: Path | None = None  # the sound it is compared with; None: its own
    reference: Path | None = None  # what it should look like, if that is known


@dataclass(frozen=True)
class VideoScore:
    """What evaluate.py writes of one video."""

    video: str
    sound: str
    frames: int
    faces: int  # frames with a face
    sync: list[SyncResult]  # one of each scorer
    reference: dict | None  # its name as video, how many frames were compared, and mean_likeness

    def as_json(self) -> dict:
        return {name: value for name, value in asdict(self).items() if value is not None}


def evaluate_videos(options: EvaluationOptions) -> tuple[list[VideoScore], int]:
    """The scores of every video, and how many could not be scored; a single one that cannot raises InputError."""
    device = pick_device(options.device)
    pairs = find_pairs(options)
    scorers = [load_scorer(path, device) for path in options.syncnet_checkpoint_path or default_scorers()]
    detector = build_detector(options.face_detector, str(device))
    print(f"faces by {detector.name}", flush=True)
    scores: list[VideoScore] = []
    for pair in pairs:
        try:
            scores.append(score_video(pair, scorers, detector, options.face_det_batch_size, options.audio_stream))
        except Exception as error:  # whatever it is, the next one may be scored
            if len(pairs) == 1:
                raise
            print(f"not scored: {format_error(error)}", file=sys.stderr)
    if not scores:
        raise InputError("none of the videos could be scored")
    return scores, len(pairs) - len(scores)


def find_pairs(options: EvaluationOptions) -> list[Pair]:
    """The videos that the options name."""
    if options.list:
        return read_pairs(options.list)
    assert options.video is not None
    if not options.video.is_dir():
        return [Pair(options.video, options.audio, options.reference)]
    if options.audio or options.reference:
        raise InputError(
            f"--video {options.video}: is a folder; name sounds and references of several videos in a --list"
        )
    videos = videos_among(options.video.iterdir())
    if not videos:
        raise InputError(f"--video {options.video}: holds no videos")
    return [Pair(path) for path in videos]


def read_pairs(path: Path) -> list[Pair]:
    """Rows of a list; names in it are relative to its folder."""
    pairs = []
    for number, row in enumerate(read_table(path, "--list", ("video",)), 1):
        video, *others = (path.parent / str(row[name]) if row.get(name) else None for name in Pair._fields)
        if video is None:
            raise InputError(f"--list {path}: row {number} lacks a video")
        pairs.append(Pair(video, *others))
    return pairs


def means(scores: list[VideoScore]) -> list[dict]:
    """Over all videos, for every scorer; within_1: the share of the measurable ones whose offset is -1 to 1."""
    found = []
    for each in zip(*(score.sync for score in scores), strict=True):
        measured = [sync.offset for sync in each if sync.measurable]
        found.append({
            "scorer": each[0].scorer,
            "lse_d": float(np.mean([sync.lse_d for sync in each])),
            "lse_c": float(np.mean([sync.lse_c for sync in each])),
            "videos": len(each),
            "measurable": len(measured),
            "within_1": float(np.mean(np.abs(measured) <= 1)) if measured else None,
        })  # fmt: skip
    return found


def score_video(
    pair: Pair, scorers: list[Scorer], detector: Detector, batch_size: int = 16, audio_stream: int | None = None
) -> VideoScore:
    """batch_size: frames whose faces are found at once. Raises InputError for a video that cannot be scored."""
    video, sound, reference = pair.video, pair.audio or pair.video, pair.reference
    reader = VideoReader(video)
    findings: list[str] = []
    sounds = [embed_sound(scorer, pair, reader, audio_stream, findings) for scorer in scorers]
    for finding in findings:
        warn(f"{sound}: {finding}")
    track, cuts = track_face(reader, detector, batch_size)
    streams = [WindowStream(scorer) for scorer in scorers]
    likenesses = list(_add_frames(reader, track, cuts, streams, reference))
    results = [stream.result(embedded) for stream, embedded in zip(streams, sounds, strict=True)]
    sync = [result for result in results if result is not None]
    if len(sync) < len(results):
        raise InputError(
            f"{video}: too short to score: five frames in a row with a face, and sound {MAX_SHIFT} frames "
            "before and after them, are needed"
        )
    if reference and not likenesses:
        raise InputError(f"{reference}: shares no frame that has a face with {video}")
    like = {"video": str(reference), "frames": len(likenesses)} | mean_likeness(likenesses) if reference else None
    return VideoScore(str(video), str(sound), len(track.found), int(track.found.sum()), sync, like)


def frame_likeness(image: np.ndarray, true: np.ndarray, box: np.ndarray) -> dict[str, float]:
    """Of the face in the box (x1, y1, x2, y2), image, true: uint8 BGR [H, W, 3]. l1, psnr, ssim: of its lower half;
    gradient_distance, sharpness and that of the true face: of the mouth (metrics/similarity.py)."""
    half = _lower_half(box, image)
    l1, psnr, ssim = likeness(crop(image, half), crop(true, half))
    face, true_face = (_detail_face(picture, box) for picture in (image, true))
    return {
        "l1": l1, "psnr": psnr, "ssim": ssim, "gradient_distance": gradient_distance(face, true_face),
        "sharpness": mouth_sharpness(face[None]), "true_sharpness": mouth_sharpness(true_face[None]),
    }  # fmt: skip


def mean_likeness(frames: list[dict[str, float]]) -> dict[str, float]:
    """The means of frame_likeness over frames, and sharpness_ratio, the ratio of the mean sharpnesses."""
    mean = {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]}
    sharpness, true_sharpness = mean.pop("sharpness"), mean.pop("true_sharpness")
    return mean | {"sharpness_ratio": sharpness / max(true_sharpness, MIN_LEVELS)}


def embed_sound(
    scorer: Scorer, pair: Pair, reader: VideoReader, audio_stream: int | None, findings: list[str]
) -> np.ndarray:
    """Sound begins with the video's first picture: the video's own, or that of another file, played along with it."""
    sound, own = pair.audio or pair.video, pair.audio in (None, pair.video)
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


def track_face(reader: VideoReader, detector: Detector, batch_size: int = 16) -> tuple[Track, list[int]]:
    """The face at 25 frames a second, and the numbers of frames that begin a new shot."""
    cut_finder = CutFinder()
    images = cut_finder.watch(frame.image for frame in _frames(reader, "faces", exact=False))
    detections = list(find_faces(images, detector, batch_size))
    cuts = cut_finder.cuts()
    track = follow_face(detections, cuts=cuts)
    if not track.found.any():
        raise InputError(f"{reader.path}: no face found in any frame")
    return track, cuts


def _add_frames(
    reader: VideoReader, track: Track, cuts: list[int], streams: list[WindowStream], reference: Path | None
) -> Iterator[dict[str, float]]:
    """Add every frame to the streams; yields the likeness to the reference, frame by frame."""
    others: Iterable[Frame] = ()
    if reference:
        other_reader = VideoReader(reference)
        others = at_rate(other_reader.frames(), FPS, other_reader.start - _late(other_reader) + _late(reader))
    pairs = zip(_frames(reader, "scoring"), chain(others, repeat(None)), strict=False)
    for number, (frame, other) in enumerate(pairs):
        found, box = track.found[number], track.boxes[number]
        for stream in streams:
            stream.add(number, stream.scorer.crop_face(frame.image, box) if found else None, number in cuts)
        mouth = _lower_half(box, frame.image)
        if other is not None and found and min(mouth.width, mouth.height) >= MIN_MOUTH:
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
    """uint8 BGR [DETAIL_SIDE, DETAIL_SIDE, 3]."""
    face = crop(image, pad_and_clip(box, NO_PADS, *image.shape[:2]))
    way = cv2.INTER_AREA if len(face) > DETAIL_SIDE else cv2.INTER_CUBIC
    return cv2.resize(face, (DETAIL_SIDE, DETAIL_SIDE), interpolation=way)


def _lower_half(box: np.ndarray, image: np.ndarray) -> Rect:
    rect = pad_and_clip(box, NO_PADS, *image.shape[:2])
    return rect._replace(y1=(rect.y1 + rect.y2) // 2)
