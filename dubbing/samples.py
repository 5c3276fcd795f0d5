"""Some frames of a video dubbed without the rest, for --check and --still: where the speech is loudest, which opens the
mouth."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio import dub_mel_start
from dubbing.dubber import DubPlan
from dubbing.faces import Detections, FaceFinder, FaceRegions, evenly
from dubbing.landmarks import LANDMARKS
from dubbing.networks import load_networks
from dubbing.options import Options
from dubbing.record import StageTimer
from dubbing.source import Source, TimedFrame
from dubbing.speech import load_speeches
from dubbing.stages import FrameTask, composite
from dubbing.voices import Audio, Place, voices_of
from face_detection import RetinaFace, build_detector
from face_detection.crop import LONGEST_SIDE, overlaps, unscaled
from face_detection.track import LINK_IOU
from hparams import HParams
from media import codecs, yuv
from media.opening import tagged_png
from utils.errors import InputError
from utils.files import write_bytes
from utils.images import square_around

OTHERS = 5  # frames from all over the video that tell who is in it, and how the person looks
VOWEL_BANDS = 40  # mel bands from the lowest, up to some 2 kHz, where vowels have their energy
OWN_INSTEAD = "the dub takes the person's own mouth instead, see --preview"  # of the generated one
VIEW, MARGIN = 480, 0.15  # pixels of a face in the picture, and how much is shown around it, in parts of its size


class Samples(NamedTuple):
    """Some frames of one play, numbered from 0, with their own times, and the faces in them."""

    frames: list[TimedFrame]
    detections: Detections  # [N, 15] for each frame; landmarks are all 0 where a box has none

    def choose(self, finder: FaceFinder, people: Iterable[Place | None] = (None,)) -> list[FaceRegions]:
        """The faces to dub; raises InputError as a dub does."""
        if wanted := [who for who in people if who is not None]:
            return finder.choose_people(self.detections, wanted, self.frames)[0]
        return [finder.choose(self.detections, self.frames)]


class DubbedFrame(NamedTuple):
    """A frame before and after, around its face."""

    time: float  # seconds at which it is shown
    source: np.ndarray  # uint8 BGR [VIEW, VIEW, 3]
    result: np.ndarray


def sample_faces(finder: FaceFinder, times: Sequence[float], slack: float = 0.0) -> Samples:
    """times, slack: as of Source.frames_at; at least one time."""
    frames = finder.source.frames_at(times, slack)
    name, retinaface = finder.detector, RetinaFace(landmarks=True)
    detector = retinaface if name == "retinaface" else build_detector(name, finder.device)
    found = []
    for frame in frames:
        image, scale = yuv.reduced_bgr(frame.picture, LONGEST_SIDE)
        boxes = detector.detect([image])[0]
        found.append(unscaled(boxes if name == "retinaface" else _with_landmarks(boxes, retinaface, image), scale))
    own_times = np.array([frame.time for frame in frames])
    return Samples(frames, Detections(found, np.zeros(len(found) - 1), own_times))


def dub_samples(
    plan: DubPlan, samples: Samples, found: Sequence[FaceRegions], times: Sequence[Sequence[float]]
) -> list[DubbedFrame]:
    """The samples nearest to each person's times as the dub will show that person, but for the smoothing of boxes;
    those without a detected face are left out. Makes the plan's people use() the faces that were found of them."""
    for person, faces in zip(plan.people, found, strict=True):
        person.use(faces, faces.crops(samples.frames))
    dubbed = []
    for person, wanted in ((person, time) for person, own in zip(plan.people, times, strict=True) for time in own):
        number = int(np.abs(samples.detections.times - wanted).argmin())
        region, frame = person.faces.at(number), samples.frames[number]
        if region is None:
            continue
        frame = frame._replace(picture=yuv.clone(frame.picture), time=wanted if plan.source.still else frame.time)
        if person.occlusion:
            person.occlusion.reset()
            person.face_task(frame, region)  # what covers a face counts from the second frame on
        face = person.face_task(frame, region)
        source = square_around(yuv.to_bgr(frame.picture), region.rect, MARGIN, VIEW)
        if face:
            plan.draw([FrameTask(frame, [face if other is person else None for other in plan.people])], StageTimer())
            composite(face, plan.options.paste)
        result = square_around(yuv.to_bgr(frame.picture), region.rect, MARGIN, VIEW)
        dubbed.append(DubbedFrame(frame.time, source, result))
    return dubbed


def still(face: Path, audio: Audio, outfile: Path, options: Options) -> tuple[float, bool]:
    """Write one frame of the dub, with generated mouths, at the loudest moment of the speech, beside its source, as
    PNG; of several people one for each, below each other. Returns the time of the (first) frame in seconds, and whether
    the dub takes the person's own mouth instead.

    outfile: the picture. Raises InputError for what cannot be used, and where that frame shows no face to dub.
    """
    networks = load_networks(replace(options, no_score=True))
    source = Source(face, options, codecs.usual_suffix(options.codec))
    speeches = load_speeches(voices_of(audio), options, networks.hp)
    plan = DubPlan(networks, source, speeches)
    finder = plan.finder(Path(f"{outfile}.faces.png"))
    seconds = min(plan.source.play_seconds, plan.speech_seconds)
    loudest = [loudest_times(speech.mel, networks.hp, seconds, 1) for speech in speeches.values()]
    samples = sample_faces(
        finder, sorted({*chain.from_iterable(loudest), *evenly(seconds, 0 if options.box else OTHERS)})
    )
    dubbed = dub_samples(plan, samples, samples.choose(finder, speeches), loudest)
    if not dubbed:
        raise InputError(finder.no_face())
    write_bytes(outfile, tagged_png(np.vstack([np.hstack([frame.source, frame.result]) for frame in dubbed])))
    return dubbed[0].time, plan.wants_own_pixels


def loudest_times(mel: np.ndarray, hp: HParams, seconds: float, count: int) -> list[float]:
    """When to show a frame, within the first seconds of a speech, so that what it is paired with is loud; one time in
    each of `count` equal parts. mel: float32 [num_mels, columns]."""
    decibels = (mel[:VOWEL_BANDS] / hp.max_abs_value + 1) / 2 * -hp.min_level_db
    power = np.convolve((10 ** (decibels / 10)).sum(axis=0), np.ones(hp.mel_window), mode="valid")  # by first column
    times = []
    for start, end in pairwise(np.linspace(0, seconds, count + 1)):
        grid = np.arange(start, end, 1 / hp.mel_columns_per_second)
        starts = [dub_mel_start(float(moment), mel.shape[1], hp) for moment in grid]
        times.append(float(grid[int(np.argmax(power[starts]))]))
    return times


def _with_landmarks(boxes: np.ndarray, retinaface: RetinaFace, image: np.ndarray) -> np.ndarray:
    """Boxes [N, 5] in an image with the landmarks of the faces that they overlap: [N, 15]."""
    others = retinaface.detect([image])[0]
    points = np.zeros((len(boxes), LANDMARKS.stop - LANDMARKS.start), np.float32)
    if len(boxes) and len(others):
        overlap = overlaps(boxes, others)
        known = overlap.max(axis=1) >= LINK_IOU
        points[known] = others[overlap.argmax(axis=1)[known], LANDMARKS]
    return np.concatenate([boxes, points], axis=1)
