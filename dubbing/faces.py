"""Where the face to dub is, in every frame of one play of the video: searched or known from before, followed, cropped.

What a search found is kept in the user's cache folder, where it is found again by the video's content and the settings.
"""

import hashlib
import io
import json
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dubbing.landmarks import SMOOTH_FRAMES, angles_of, may_lie, opacity, quarter_turns, tilt, yaw
from dubbing.options import Options
from dubbing.paste import FaceRegion, upright_crop
from dubbing.record import ProgressBar
from dubbing.source import Source, TimedFrame
from dubbing.stages import prefetch
from dubbing.voices import Place
from face_detection import build_detector, choose_detector, detector_identity
from face_detection.crop import LONGEST_SIDE, pad_and_clip, unscaled
from face_detection.find import KEY_STEP, CutFinder, cuts_at, detect_sparsely, several_people
from face_detection.identity import People, people_of
from face_detection.track import FaceNotFound, Track, faces_of, follow_face, frame_with_most_faces
from media import yuv
from media.clock import Span
from metrics.glossary import MAX_SEVERAL_PEOPLE
from utils.errors import InputError
from utils.files import cache_folder, sha256, write_bytes
from utils.images import FONT, Rect, write_png

MOUTH = 0.75  # where the mouth is, in parts of the box's height
GLIMPSES = 5  # frames that are looked at to see whether heads lie
TRANSFORM = ("deinterlace", "video_stream", "background", "picture_size", "resize_factor", "rotate", "crop")
CACHE_FORMAT = 5  # of the cache's files; a change forgets the old ones
DIGEST_BYTES = 32  # of a SHA-256
FOLLOWED, OTHER, INK = (80, 200, 60), (40, 150, 255), (0, 0, 0)  # BGR: boxes of the followed face, of others; numbers
NUMBER_HEIGHT, SMALLEST_NUMBER = 0.05, 14.0  # in parts of the picture's shorter side, and in pixels

Wanted = Sequence[Place] | None  # people; None for everybody


class Detections(NamedTuple):
    """What was found in the frames of one play of a video."""

    faces: list[np.ndarray]  # per frame float32 [N, 5] (x1 y1 x2 y2 score), or [N, 15] with landmarks, as it is dubbed
    changes: np.ndarray  # float64 [T - 1], in which face_detection.find.cuts_at finds cuts
    times: np.ndarray  # float64 [T], of the frames, in seconds

    @classmethod
    def cached(cls, path: Path) -> "Detections | None":
        """What write() kept."""
        if (kept := read_cache(path)) is None:
            return None
        return cls(np.split(kept["faces"], np.cumsum(kept["counts"])[:-1]), kept["changes"], kept["times"])

    def write(self, path: Path) -> None:
        counts = np.array([len(found) for found in self.faces])
        write_cache(path, faces=np.concatenate(self.faces), counts=counts, changes=self.changes, times=self.times)


@dataclass(frozen=True)
class FaceRegions:
    """The face to dub in every frame of one play, or one region for all of them."""

    regions: list[FaceRegion | None]  # None where there is no face to dub
    detector: str | None  # its name; None for a box that was given
    followed: list[np.ndarray | None] = field(default_factory=list)  # the detection in every frame, None without one
    cached: bool = False  # whether nothing had to be detected
    key: str = ""  # of the video's content and the settings, where what is found is kept

    @property
    def has_landmarks(self) -> bool:
        return self.detector == "retinaface"

    def at(self, number: int) -> FaceRegion | None:
        """The region in a frame."""
        return self.regions[min(number, len(self.regions) - 1)]

    def crops(self, frames: Iterable[TimedFrame]) -> list[np.ndarray]:
        """Upright crops of the face in those of the frames that show it, uint8 BGR [h, w, 3] of different sizes."""
        found = ((frame.picture, self.at(frame.number)) for frame in frames)
        return [upright_crop(picture, region) for picture, region in found if region]


@dataclass(frozen=True)
class FaceFinder:
    """Finds the face to dub in what a source shows within `seconds`."""

    source: Source
    seconds: float
    device: str
    faces_file: Path | None = None  # PNG with the numbered faces, written where --face_at or --face_index miss
    several: bool = False  # whether people are told apart, best by faces whose landmarks are known

    @property
    def options(self) -> Options:
        return self.source.options

    @property
    def detector(self) -> str:
        """ "sfd" or "retinaface", as the options need it."""
        options = self.options
        landmarks = options.align or options.occlusion or self.several  # which tell tilted and turned heads
        if options.align and options.face_detector == "sfd":
            raise InputError("--align: needs the eyes, which --face_detector sfd does not find; use retinaface")
        return "retinaface" if landmarks and options.face_detector == "auto" else choose_detector(options.face_detector)

    def find(self, progress: ProgressBar) -> FaceRegions:
        """Raises InputError where there is no face to dub, where --face_at or --face_index name nobody, and where heads
        lie on their side but --align is not asked for."""
        if self.options.box:
            return self.given_box()
        detections, known, key = self._detections(progress)
        return replace(self.choose(detections), cached=known, key=key)

    def find_people(self, progress: ProgressBar, wanted: Wanted) -> tuple[list[FaceRegions], list[Span]]:
        """The faces of several people, and when it is not sure who somebody is (their faces are left out then).

        wanted: of each person the number (face_detection/identity.py) or a point x, y on the face in the first frame
        that shows it there; None for everybody. Raises InputError as find(), and where two of them are one person.
        """
        finder = replace(self, several=True)
        detections, known, key = finder._detections(progress)
        found, unsure = finder.choose_people(detections, wanted)
        return [replace(faces, cached=known, key=key) for faces in found], unsure

    def _detections(self, progress: ProgressBar) -> tuple[Detections, bool, str]:
        """What is found in the video, whether it was known from before, and the key it is kept by."""
        path = None if self.options.no_cache else self._cache_path()
        known = Detections.cached(path) if path else None
        print(f"faces by {self.detector}" + (", as found before" if known else ""), flush=True)
        detections = known or self.search(progress)
        if not detections.faces:
            raise InputError(f"--face {self.source.path}: no frame can be decoded; give a whole video")
        if path and not known:
            detections.write(path)
        return detections, known is not None, path.stem if path else ""

    def search(self, progress: ProgressBar) -> Detections:
        """Detect faces, as find() does where none are cached."""
        times, scale, cut_finder, detector = list[float](), 1.0, CutFinder(), self.detector

        def images() -> Generator[np.ndarray, None, None]:
            nonlocal scale
            frames, total = self.source.iter_once(self.seconds), self.source.frames_once(self.seconds)
            for frame in progress(frames, desc="faces", unit="frame", total=total):
                times.append(frame.time)
                image, scale = yuv.reduced_bgr(frame.picture, LONGEST_SIDE)
                yield image

        batches = detector == "sfd" and self.device != "cpu"  # elsewhere no faster, and it stops later
        batch_size = self.options.face_det_batch_size if batches else 1
        built = build_detector(detector, self.device, landmarks=detector == "retinaface")
        found = detect_sparsely(prefetch(cut_finder.watch(images()), KEY_STEP), built, batch_size)
        faces = [unscaled(boxes, scale) for boxes in found]
        return Detections(faces, np.array(cut_finder.changes), np.array(times))

    def choose(self, detections: Detections, frames: Sequence[TimedFrame] | None = None) -> FaceRegions:
        """The face to dub among these detections; raises as find(). frames: those of the detections, where they are
        samples from all over the video, over which nothing can be smoothed."""
        options, sampled = self.options, frames is not None
        if options.box:
            return self.given_box()
        if not any(map(len, detections.faces)):
            raise InputError(self.no_face())
        smooth, cuts = not (options.nosmooth or sampled), [] if sampled else cuts_at(detections.changes)
        try:
            track = follow_face(detections.faces, smooth, cuts, options.face_at, options.face_index)
        except FaceNotFound as error:
            raise self._with_faces(error, detections, frames) from error
        if not sampled and options.face_at is None and options.face_index is None:
            _print_choice(detections, track)
        faces = self._regions(track, faces_of(detections.faces, track), sampled)
        if not any(faces.regions):
            raise InputError(self.no_face())
        return faces

    def choose_people(
        self, detections: Detections, wanted: Wanted, frames: Sequence[TimedFrame] | None = None
    ) -> tuple[list[FaceRegions], list[Span]]:
        """As find_people(), among these detections; frames: as in choose()."""
        if not any(map(len, detections.faces)):
            raise InputError(self.no_face())
        cuts = cuts_at(detections.changes) if frames is None else range(len(frames))

        def pictures(numbers: list[int]) -> Iterator[tuple[np.ndarray, float]]:
            last, looked_at = numbers[-1], set(numbers)
            for number, frame in enumerate(frames or self.source.iter_once(self.seconds)):
                if number in looked_at:
                    yield yuv.reduced_bgr(frame.picture, LONGEST_SIDE)
                if number == last:
                    return

        smooth = frames is None and not self.options.nosmooth
        people = people_of(detections.faces, cuts, pictures, smooth)
        try:
            tracks = people.tracks if wanted is None else chosen(people, wanted)
        except FaceNotFound as error:
            raise self._with_faces(error, detections, frames) from error
        found = []
        for track in tracks:
            near = faces_of(detections.faces, track)  # somebody else's, where the own one is not detected
            followed = [None if between else face for face, between in zip(near, track.interpolated, strict=True)]
            found.append(self._regions(track, followed, frames is not None))
        found = [faces for faces in found if wanted is not None or any(faces.regions)]
        if not found or not all(any(faces.regions) for faces in found):
            raise InputError(self.no_face())
        ends = [*detections.times[1:], detections.times[-1]]
        return found, [Span(float(detections.times[first]), float(ends[last])) for first, last in people.unsure]

    def _with_faces(
        self, error: FaceNotFound, detections: Detections, frames: Sequence[TimedFrame] | None
    ) -> InputError:
        """That error with the faces that can be chosen; faces_file shows them."""
        time = float(detections.times[error.frame])
        shown = frames[error.frame] if frames else self.source.frames_at([time])[0]
        seen = ""
        if self.faces_file:
            write_png(self.faces_file, numbered_faces(yuv.to_bgr(shown.picture), error.faces))
            seen = f"; see {self.faces_file}"
        return InputError(f"{error}; at {time:.2f} s faces are {list_faces(error.faces)}{seen}")

    def _regions(self, track: Track, followed: list[np.ndarray | None], sampled: bool) -> FaceRegions:
        """Where a person's face is dubbed. followed: the detection in every frame; sampled: as in choose()."""
        options = self.options
        if not options.align and may_lie([face for face in followed if face is not None]) and (how := self.turning()):
            raise InputError(f"--face {self.source.path}: {how}")
        count, window = len(track.boxes), 1 if sampled else SMOOTH_FRAMES
        tilts = angles_of(tilt, followed, track, window) if options.align else np.zeros(count)
        yaws = angles_of(yaw, followed, track, window) if options.occlusion else np.zeros(count)
        known = track.found & ~(track.interpolated & sampled)  # samples are too far from each other
        regions = [
            self._region(box, tilted, float(opacity(turned)), bool(between)) if found else None
            for box, tilted, turned, between, found in zip(
                track.boxes, tilts, yaws, track.interpolated, known, strict=True
            )
        ]
        return FaceRegions(regions, self.detector, followed)

    def _region(self, box: np.ndarray, tilted: float, opacity: float, interpolated: bool) -> FaceRegion | None:
        """None where the frame does not show the mouth. A head that lies has a wide box, which is that of the upright
        crop turned by a quarter. box: x1 y1 x2 y2 in pixels; tilted: degrees clockwise."""
        width, height, upright = self.source.width, self.source.height, box
        if 45 < abs(tilted) < 135:
            middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2])[::-1] / 2
            upright = np.concatenate([middle - half, middle + half])
        rect = pad_and_clip(upright, self.options.pads, height, width)
        shown = rect.usable and (tilted or mouth_inside(box, height, width))
        return FaceRegion(rect, float(tilted), opacity, interpolated) if shown else None

    def given_box(self) -> FaceRegions:
        """That of --box: top, bottom, left, right. Raises InputError where it reaches beyond the frame."""
        top, bottom, left, right = self.options.box or (0, 0, 0, 0)
        height, width = self.source.height, self.source.width
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise InputError(f"--box {top} {bottom} {left} {right}: does not lie inside the frame of {width}x{height}")
        return FaceRegions([FaceRegion(Rect(left, top, right, bottom))], None)

    def no_face(self) -> str:
        """The error for a video without a face, with what to do."""
        advice = self.turning() or "use footage that shows it larger, or give its place with --box"
        if self.source.reader and self.source.reader.videos > 1:
            advice = f"the file has {self.source.reader.videos} videos; choose another by --video_stream"
        return f"--face {self.source.path}: no face found in any frame; {advice}"

    def turning(self) -> str | None:
        """What makes heads upright that lie; None where they do not, in some frames from all over the video."""
        end, rotate = min(self.seconds, self.source.play_seconds), self.options.rotate
        frames = self.source.frames_at(evenly(end, GLIMPSES), end / GLIMPSES)
        images = [yuv.reduced_bgr(frame.picture, LONGEST_SIDE)[0] for frame in frames]
        turns = quarter_turns(images, build_detector("retinaface", landmarks=True))
        if not turns:
            return None
        degrees = 90 * (turns + rotate) % 360  # of the file
        turn = f"turn the file by {degrees} degrees clockwise in a video editor, or try --align" if degrees else ""
        if rotate:
            return "the head does not stand upright: leave out --rotate" + (f" and {turn}" if turn else "")
        return f"the head does not stand upright: {'use --rotate' if degrees == 90 else turn}"

    def _cache_path(self) -> Path:
        """The file for this video's content and these settings."""
        source, seconds = self.source, min(self.seconds, self.source.play_seconds)
        settings = {name: getattr(self.options, name) for name in TRANSFORM} | detector_identity(self.detector)
        settings |= {"static": source.still, "start": source.part and source.part[0], "seconds": seconds}
        key = json.dumps([CACHE_FORMAT, sha256(source.path), settings], sort_keys=True)
        return cache_folder("faces") / f"{hashlib.sha256(key.encode()).hexdigest()}.faces"


def chosen(people: People, wanted: Sequence[Place]) -> list[Track]:
    """The tracks of these people, given as in find_people(). Raises FaceNotFound where there is nobody, or where two
    are one."""
    numbers = list[int]()
    for place in wanted:
        number = place if isinstance(place, int) else _first_at(people.tracks, place)
        if number in numbers or not 0 <= number < len(people.tracks):
            name = place if isinstance(place, int) else f"{place[0]:g},{place[1]:g}"
            fault = "has two voices" if number in numbers else f"is not among the {len(people.tracks)} who are seen"
            raise FaceNotFound(f"--voice {name}: this person {fault}", people.frame, people.faces)
        numbers.append(number)
    return [people.tracks[number] for number in numbers]


def _first_at(tracks: Sequence[Track], point: tuple[float, float]) -> int:
    """The number of the track that is the first at this point; -1 where none ever is."""
    inside = [((t.boxes[:, :2] <= point) & (t.boxes[:, 2:] >= point)).all(axis=1) & t.found for t in tracks]
    first = [int(frames.argmax()) if frames.any() else len(frames) for frames in inside]
    return int(np.argmin(first)) if np.any(inside) else -1


def mouth_inside(box: np.ndarray, height: int, width: int) -> bool:
    """Whether the frame shows the mouth of a face in this box, which may reach beyond the frame."""
    x1, y1, x2, y2 = box
    return bool(0 <= (x1 + x2) / 2 < width and y1 + MOUTH * (y2 - y1) < height)


def evenly(seconds: float, count: int) -> list[float]:
    """That many times, in seconds, in the middles of equal parts."""
    return ((np.arange(count) + 0.5) * seconds / max(count, 1)).tolist()


def read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays that were kept; None where the file is missing or damaged."""
    if not path.exists():
        return None
    content = path.read_bytes()
    digest, arrays = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(arrays).digest() != digest:
        return None
    with np.load(io.BytesIO(arrays), allow_pickle=False) as kept:
        return dict(kept)


def write_cache(path: Path, **arrays: np.ndarray) -> None:
    """Keep arrays for the next dub; they come after their SHA-256, so that damage is noticed."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, hashlib.sha256(file.getvalue()).digest() + file.getvalue())
    except OSError as error:
        print(f"what was found cannot be cached for the next dub: {error}", file=sys.stderr)


def numbered_faces(picture: np.ndarray, boxes: np.ndarray, followed: Collection[int] = ()) -> np.ndarray:
    """A copy of the picture, uint8 BGR [H, W, 3], with boxes, float [N, 4 or more], numbered in their order from 0;
    those followed in another colour."""
    drawn = picture.copy()
    height = max(SMALLEST_NUMBER, NUMBER_HEIGHT * min(picture.shape[:2]))
    scale, line = height / 22, max(2, round(height / 8))  # the font's digits have 22 pixels
    for number, box in enumerate(boxes):
        colour = FOLLOWED if number in followed else OTHER
        x1, y1, x2, y2 = (round(float(value)) for value in box[:4])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, line)
        (width, tall), _ = cv2.getTextSize(str(number), FONT, scale, line)
        left, top, margin = max(0, x1), max(0, y1), round(height / 3)  # a face may reach beyond the frame
        cv2.rectangle(drawn, (left, top), (left + width + 2 * margin, top + tall + 2 * margin), colour, cv2.FILLED)
        cv2.putText(drawn, str(number), (left + margin, top + tall + margin), FONT, scale, INK, line, cv2.LINE_AA)
    return drawn


def list_faces(boxes: Sequence[np.ndarray] | np.ndarray) -> str:
    """Number, centre and size of each box, float [N, 4 or more]."""
    return ", ".join(f"{number} at {place_of(box)}" for number, box in enumerate(boxes))


def place_of(box: np.ndarray) -> str:
    """Centre and size of a box, float [4 or more], in pixels."""
    x1, y1, x2, y2 = box[:4]
    return f"{(x1 + x2) / 2:.0f},{(y1 + y2) / 2:.0f} ({x2 - x1:.0f}x{y2 - y1:.0f})"


def _print_choice(detections: Detections, track: Track) -> None:
    """Say who of several people is followed, and how to choose another."""
    if several_people(detections.faces) > MAX_SEVERAL_PEOPLE and track.found.any():
        most = frame_with_most_faces(detections.faces)[0]
        frame = most if track.found[most] else int(track.found.argmax())
        place, time = place_of(track.boxes[frame]), detections.times[frame]
        print(
            f"several people: the face at {place} at {time:.2f} s is followed; --face_index and --face_at choose others"
        )
