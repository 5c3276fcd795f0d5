"""A look at footage and speech before a dub: what is wrong with them, what the mouth will look like, how long it takes.

report = check(Path("talk.mp4"), Path("speech.wav"), Path("out.mp4"), Options())
print(report.text()); json.dumps(asdict(report))
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from dubbing.dubber import DubPlan, dub_frames
from dubbing.faces import FaceFinder, FaceRegions, evenly, list_faces, numbered_faces
from dubbing.landmarks import FRONTAL, LANDMARKS, limits, yaw
from dubbing.networks import load_networks
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.options import Options
from dubbing.record import StageTimer
from dubbing.samples import OWN_INSTEAD, Samples, dub_samples, loudest_times, sample_faces
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech, load_speeches
from dubbing.voices import Audio, name_of, voices_of
from face_detection.crop import to_network_size
from face_detection.find import KEY_STEP, cuts_at, several_people
from face_detection.track import frame_with_most_faces
from hparams import HParams
from media import yuv
from metrics.glossary import footage_remarks
from models.published import BUNDLED_GENERATOR
from utils.cli import quoted
from utils.errors import InputError
from utils.images import labelled_rows, sharpness, write_png
from utils.settings import as_flags

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

SAMPLES, DRAWN, TIMED = 14, 3, 48  # frames that are looked at, drawn with their new mouths, dubbed for timing
SEARCHED = 4.0  # seconds of work in which faces are searched as by a dub, from the beginning
PROFILES, COVERED = 0.15, 0.1  # shares of the looked-at frames from which on they are mentioned
CLIPPED = 0.001  # share of the sound's samples from which on it is mentioned
MIB = 1 << 20
ADVICE = {
    "face_share": "the others stay as filmed",
    "several_people": "one is followed; choose by --face_at or --face_index",
    "cuts": "the face is found again in each shot; a choice holds where that person stays in place",
    "face_height": "the mouth will show little; film closer, or take a copy of higher resolution",
    "sharpness": "the new mouth may look sharper than the face; use sharper footage",
    "speech_share": "elsewhere the mouth rests",
}


@dataclass(frozen=True)
class FoundFace:
    """One of the faces of a frame."""

    box: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the frame as it is dubbed
    followed: bool  # whether it is the one that is dubbed


@dataclass(frozen=True)
class Estimate:
    """What a dub takes on this machine."""

    frames: int
    seconds: float
    faces: float  # of these seconds, for finding the face, unless it is cached
    megabytes: int | None  # of memory at most (MiB), None where the system does not tell

    def summary(self) -> str:
        faces = f", {self.faces:.0f} of them for finding the face, once" if self.faces >= 1 else ""
        memory = f"; memory: {self.megabytes} MiB" if self.megabytes else ""
        return f"a dub of {self.frames} frames takes about {self.seconds:.0f} s here{faces}{memory}"


@dataclass
class CheckReport:
    """What a check found."""

    command: str  # the dub, to be copied
    weights: str
    problems: list[str] = field(default_factory=list)  # why no dub would be made
    remarks: list[str] = field(default_factory=list)  # what is less than good, and what to do
    limits: list[str] = field(default_factory=list)  # what of the footage the weights draw badly
    findings: list[str] = field(default_factory=list)  # what of the files will be changed
    faces: list[FoundFace] = field(default_factory=list)  # of the frame at faces_time, from the left
    faces_time: float = 0.0  # seconds
    faces_picture: str | None = None  # shows them with their numbers
    mouths: str | None = None  # a picture of some frames, source above generated mouth; None without speech
    own_mouths: bool = False  # whether the dub takes the person's own mouth instead, where the video shows it
    estimate: Estimate | None = None  # None without --audio

    def text(self) -> str:
        """For a terminal."""
        lines = self.lines()
        if self.faces_picture:
            places = list_faces([np.array(face.box) for face in self.faces])
            lines.append(f"faces at {self.faces_time:.2f} s: {places}; see {self.faces_picture}")
        lines.append(self.weights)
        own = f"; {OWN_INSTEAD}" if self.own_mouths else ""
        lines += [f"generated mouths: see {self.mouths}{own}"] if self.mouths else []
        lines += [self.estimate.summary()] if self.estimate else []
        return "\n".join([*lines, *([] if self.problems else [self.command])])

    def lines(self) -> list[str]:
        """What is wrong, and what was found in the files."""
        lines = [*(f"problem: {line}" for line in self.problems), *(f"remark: {line}" for line in self.remarks)]
        if self.limits:
            lines.append(f"these weights cannot do well what this footage shows: {', '.join(self.limits)}")
        lines += [f"found: {', '.join(self.findings)}"] if self.findings else []
        return lines or ["nothing is wrong with the footage"]


def check(face: Path, audio: Audio | None, outfile: Path, options: Options) -> CheckReport:
    """Look at a video, and speech if there is some, as a dub to `outfile` with these options would take them. Writes
    <outfile>.faces.png and, where there is speech, <outfile>.check.png.

    audio: else the video's own sound is looked at. Raises InputError for files that cannot be read at all.
    """
    began = time.perf_counter()
    networks, source = load_networks(options), Source(face, options, outfile.suffix)
    report, speeches = CheckReport(command(face, audio, outfile, options), networks.summary()), {}
    sound = audio or (face if source.reader and source.reader.has_sound else None)
    try:
        speeches = load_speeches(voices_of(sound), options, networks.hp) if sound else {}
    except InputError as error:
        report.problems += [str(error)] if audio else []  # the video's own sound need not be speech
    starting = time.perf_counter() - began
    said = list(speeches.values())
    seconds = min(source.play_seconds, said[0].seconds if said else inf, options.preview or inf)
    faces_file, found, searching = Path(f"{outfile}.faces.png"), list[FaceRegions](), 0.0
    finder = FaceFinder(source, seconds, networks.backend.device, faces_file)
    loud = [loudest_times(speech.mel, networks.hp, seconds, DRAWN) for speech in said]
    samples = sample_faces(finder, sorted({*evenly(seconds, SAMPLES), *chain.from_iterable(loud)}), seconds / SAMPLES)
    try:
        found = samples.choose(finder, speeches or [None])
        if not options.box:
            cuts, searching = _search_awhile(finder)
            named = bool(speeches) and None not in speeches  # by --voice, which holds through cuts
            looks = (_look(samples, faces, networks.hp, options, named) for faces in found)
            report.remarks += dict.fromkeys([*chain.from_iterable(looks), *([] if named else cuts)])
    except InputError as error:
        report.problems.append(str(error))
    if audio:
        report.remarks += [remark for speech in said for remark in _speech_remarks(speech)]
    if found and found[0].followed and networks.path == BUNDLED_GENERATOR:
        report.limits = limits([yuv.to_bgr(frame.picture) for frame in samples.frames], found[0].followed)
    if said and found and not report.problems:
        short = replace(options, preview=min(TIMED / float(source.rate), options.preview or said[0].seconds))
        plan = DubPlan(networks, Source(face, short, outfile.suffix), speeches)
        if mouths := dub_samples(plan, samples, found, loud):
            report.mouths = f"{outfile}.check.png"
            rows = {"source": [mouth.source for mouth in mouths], "generated": [mouth.result for mouth in mouths]}
            write_png(Path(report.mouths), labelled_rows(rows))
        whole = DubPlan(networks, source, speeches)
        report.own_mouths = whole.wants_own_pixels
        if audio:
            report.estimate = _estimate(plan, whole, found, outfile.suffix, starting, searching)
    told = [finding for speech in said for finding in speech.findings] if audio else []
    report.findings = list(dict.fromkeys([*source.findings, *told]))
    number, people = frame_with_most_faces(samples.detections.faces)
    if len(people):
        followed = [faces.followed[number] for faces in found if faces.followed]
        chosen = {int(np.abs(people - face).sum(axis=1).argmin()) for face in followed if face is not None}
        write_png(faces_file, numbered_faces(yuv.to_bgr(samples.frames[number].picture), people, chosen))
        boxes = [tuple(round(float(value)) for value in box[:4]) for box in people]
        report.faces = [FoundFace(box, n in chosen) for n, box in enumerate(boxes)]  # type: ignore[arg-type]
        report.faces_picture, report.faces_time = str(faces_file), round(samples.frames[number].time, 3)
    return report


def command(face: Path, audio: Audio | None, outfile: Path, options: Options) -> str:
    """What to type for the dub, as this system's shell takes it."""
    voices = voices_of(audio or "SPEECH")
    said = [f"{name_of(who)}={part.audio}" for who, parts in voices.items() for part in parts if who is not None]
    flags = ["--voice", *said] if said else ["--audio", str(audio or "SPEECH")]
    words = ["python", "inference.py", "--face", str(face), *flags]
    return quoted([*words, "--outfile", str(outfile), *as_flags(options)])


def _speech_remarks(speech: Speech) -> list[str]:
    remarks = footage_remarks({"speech_share": speech.share}, ADVICE)
    if speech.clipped > CLIPPED:
        remarks.append(f"clipped sound ({speech.clipped:.1%} of the samples): record it at a lower level")
    if speech.too_low:
        remarks.append(
            f"quiet speech ({speech.too_low:.0f} dB too low): the mouth will move little; leave out --level keep"
        )
    return remarks


def _search_awhile(finder: FaceFinder) -> tuple[list[str], float]:
    """Search faces as a dub does, as far as there is time for: remarks on hard cuts, and how many seconds the whole
    search takes."""
    began = time.perf_counter()

    def awhile(frames: Iterable[TimedFrame], **_: Any) -> Iterator[TimedFrame]:
        return takewhile(lambda frame: frame.number < KEY_STEP or time.perf_counter() - began < SEARCHED, frames)

    found = finder.search(awhile)
    counted = f"{ADVICE['cuts']}, counted in the first {found.times[-1]:.0f} s"
    remarks = footage_remarks({"cuts": len(cuts_at(found.changes))}, {"cuts": counted})
    seconds = (time.perf_counter() - began) / len(found.times)
    return remarks, seconds * finder.source.frames_once(finder.seconds)


def _look(samples: Samples, faces: FaceRegions, hp: HParams, options: Options, chosen: bool) -> list[str]:
    """Remarks on what the pictures show of a person. chosen: by --voice."""
    crops = faces.crops(samples.frames)
    if not crops:
        return []
    small = [to_network_size(crop, hp.img_size) for crop in crops]
    chosen = chosen or options.speaking_only or options.face_at is not None or options.face_index is not None
    facts = {
        "face_share": len(crops) / len(samples.frames),
        "several_people": 0.0 if chosen else several_people(samples.detections.faces),
        "face_height": float(np.median([len(crop) for crop in crops])),
        "sharpness": float(np.mean([sharpness(face) for face in small])),
    }
    remarks = footage_remarks(facts, ADVICE)
    turned = np.mean([abs(float(yaw(face[LANDMARKS]))) > FRONTAL for face in faces.followed if face is not None])
    instead = "they fade to the source" if options.occlusion else "try --occlusion, which leaves them as filmed"
    remarks += [f"profile views in {turned:.0%} of the frames: {instead}"] if turned > PROFILES else []
    covered = _covered(small)
    instead = "" if options.occlusion else ": use --occlusion, which keeps it in front"
    return remarks + ([f"something covers the mouth in {covered:.0%} of the frames{instead}"] * (covered > COVERED))


def _covered(faces: Sequence[np.ndarray]) -> float:
    """Share of the faces, uint8 BGR [S, S, 3], whose mouth something covers."""
    detector, hidden = OcclusionDetector(np.stack(faces)), []
    for face in faces:
        detector.reset()
        detector.visible(face)  # what covers a face counts from the second frame on
        hidden.append(hidden_share(detector.visible(face)) >= OCCLUDED)
    return float(np.mean(hidden))


def _estimate(
    plan: DubPlan, whole: DubPlan, found: list[FaceRegions], suffix: str, starting: float, searching: float
) -> Estimate:
    """From a dub of the plan's frames, all with a face of usual size of every person.

    whole: the plan of the whole dub; starting: seconds for reading weights and speech; searching: for finding the face
    in the seconds that are dubbed.
    """
    for person, faces in zip(plan.people, found, strict=True):
        by_size = sorted((region for region in faces.regions if region), key=lambda region: region.rect.height)
        person.faces = FaceRegions([by_size[len(by_size) // 2] if by_size else None], faces.detector)
    timer = StageTimer()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"timed{suffix}"
        done = dub_frames(plan, file, file, timer, lambda tasks, **_: tasks)
    busy, dubbed = timer.rounded(), max(1, done["frames"])
    dubbing = busy["dub"] / dubbed * whole.frames
    if whole.wants_own_pixels:  # frames are decoded, drawn and compared with the speech, once
        own = whole.source.frames_once(whole.searched_seconds)
        searching *= whole.searched_seconds / whole.seconds
        dubbing += sum(busy.get(stage, 0.0) for stage in ("read", "generate", "score")) / dubbed * own
    megabytes = None
    if resource:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes in what is counted
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MIB
    return Estimate(whole.frames, starting + searching + dubbing, searching, megabytes)
