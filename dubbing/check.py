"""A look at footage and speech before a dub: what is wrong with them, what the mouth will look like, how long it takes.

report = check(Path("talk.mp4"), Path("speech.wav"), Path("out.mp4"), Options())
print(report.text()); json.dumps(asdict(report))
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

import audio as mels
from dubbing.dubber import DubPlan, dub_frames
from dubbing.faces import FaceFinder, FaceRegions, evenly, list_faces, number_of, numbered_faces
from dubbing.landmarks import FRONTAL, LANDMARKS, limits, yaw
from dubbing.networks import load_networks
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.options import Options
from dubbing.record import StageTimer
from dubbing.samples import (
    MARGIN,
    VIEW,
    DubbedFrame,
    Samples,
    choose_face,
    dub_samples,
    loudest_times,
    sample_faces,
)  # fmt: skip
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech, load_speech
from face_detection.crop import to_network_size
from face_detection.find import KEY_STEP, cuts_at, several_people
from face_detection.track import frame_with_most_faces
from hparams import HParams
from media import codecs, yuv
from media.sound import read_audio
from metrics.glossary import footage_remarks
from models.published import BUNDLED_GENERATOR
from utils.cli import quoted
from utils.errors import InputError
from utils.images import labelled_rows, sharpness, square_around, write_png
from utils.options import written

SAMPLES, DRAWN, TIMED = 14, 3, 48  # frames that are looked at, drawn with their new mouths, dubbed for timing
SEARCHED = 4.0  # seconds of work in which faces are searched as by a dub, from the beginning
PROFILES, COVERED = 0.15, 0.1  # shares of the looked-at frames from which on they are mentioned
CLIPPED, AT_FULL_SCALE = 0.001, 0.999  # share of the samples that are at full scale
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


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    face: str
    audio: str | None
    outfile: str
    usable: bool  # whether a dub would be made
    problems: list[str]  # why not
    remarks: list[str]  # what is less than good, and what to do
    limits: list[str]  # what of the footage the weights draw badly
    findings: list[str]  # what of the files will be changed
    faces: list[FoundFace]  # of the frame at faces_time, from the left
    faces_time: float  # seconds
    faces_picture: str | None  # shows them with their numbers
    weights: str
    mouths: str | None  # a picture of some frames, source above result; None without speech
    estimate: Estimate | None  # None without --audio
    command: str  # the dub, to be copied

    def text(self) -> str:
        """For a terminal."""
        lines = self.lines()
        if self.faces_picture:
            places = list_faces([np.array(face.box) for face in self.faces])
            lines.append(f"faces at {self.faces_time:.2f} s: {places}; see {self.faces_picture}")
        lines.append(self.weights)
        lines += [f"mouths: see {self.mouths}"] if self.mouths else []
        lines += [self.estimate.summary()] if self.estimate else []
        return "\n".join([*lines, *([self.command] if self.usable else [])])

    def lines(self) -> list[str]:
        """What is wrong, and what was found in the files."""
        lines = [*(f"problem: {line}" for line in self.problems), *(f"remark: {line}" for line in self.remarks)]
        if self.limits:
            lines.append(f"these weights cannot do well what this footage shows: {', '.join(self.limits)}")
        lines += [f"found: {', '.join(self.findings)}"] if self.findings else []
        return lines or ["nothing is wrong with the footage"]


def check(face: Path, audio: Path | None, outfile: Path, options: Options) -> CheckReport:
    """Look at a video, and speech if there is some, as a dub to `outfile` with these options would take them. Writes
    <outfile>.faces.png and, where there is speech, <outfile>.check.png.

    audio: else the video's own sound is looked at. Raises InputError for files that cannot be read at all.
    """
    began = time.perf_counter()
    networks, source = load_networks(options), Source(face, options)
    own = face if source.reader and source.reader.has_sound else None
    speech, problems, remarks = _hear(audio or own, options, networks.hp)
    if audio is None:  # the video's own sound need not be speech
        problems, remarks = [], []
    starting = time.perf_counter() - began
    seconds = min(source.play_seconds, speech.seconds if speech else inf, options.preview or inf)
    faces_file = Path(f"{outfile}.faces.png")
    pix_fmt = codecs.choose(options.codec, outfile.suffix, source.pix_fmt, options.crf, options.preset).pix_fmt
    finder = FaceFinder(source, pix_fmt, seconds, networks.backend.device, faces_file)
    loud = loudest_times(speech.mel, networks.hp, seconds, DRAWN) if speech else []
    samples = sample_faces(finder, sorted({*evenly(seconds, SAMPLES), *loud}), seconds / SAMPLES)
    faces, searching, drawn_badly, mouths, cost = None, 0.0, list[str](), None, None
    try:
        faces = choose_face(finder, samples)
        if not options.box:
            cuts, searching = _search_awhile(finder, samples.detector)
            remarks = [*_look(samples, faces, networks.hp, options), *cuts, *remarks]
    except InputError as error:
        problems.append(str(error))
    if faces and faces.followed and networks.path == BUNDLED_GENERATOR:
        drawn_badly = limits([yuv.to_bgr(frame.picture) for frame in samples.frames], faces.followed)
    if speech and faces and not problems:
        short = replace(options, preview=min(TIMED / float(source.rate), options.preview or speech.seconds))
        plan = DubPlan(networks, Source(face, short), speech, outfile.suffix)
        mouths = _draw_mouths(dub_samples(plan, samples, faces, loud), Path(f"{outfile}.check.png"))
        frames = source.frames_in(min(speech.seconds, options.preview or inf))
        cost = _estimate(plan, faces, outfile.suffix, frames, starting, searching)
    number, found = _number_faces(samples, faces, faces_file)
    return CheckReport(
        face=str(face),
        audio=None if audio is None else str(audio),
        outfile=str(outfile),
        usable=not problems,
        problems=problems,
        remarks=remarks,
        limits=drawn_badly,
        findings=list(dict.fromkeys([*source.findings, *(speech.findings if speech and audio else [])])),
        faces=found,
        faces_time=round(samples.frames[number].time, 3),
        faces_picture=str(faces_file) if found else None,
        weights=networks.summary(),
        mouths=None if mouths is None else str(mouths),
        estimate=cost if audio else None,
        command=command(face, audio, outfile, options),
    )


def command(face: Path, audio: Path | None, outfile: Path, options: Options) -> str:
    """What to type for the dub, as this system's shell takes it."""
    words = ["python", "inference.py", "--face", str(face), "--audio", str(audio or "SPEECH")]
    words += ["--outfile", str(outfile)]
    for setting in fields(options):
        value = getattr(options, setting.name)
        if value == setting.default:
            continue
        parts = value if isinstance(value, tuple) else (value,)
        values = [f"{part:g}" if isinstance(part, float) else written(part) for part in parts]
        one_word = isinstance(setting.metadata["metavar"], str) and "," in setting.metadata["metavar"]  # X,Y
        words += [f"--{setting.name}", *([] if value is True else [",".join(values)] if one_word else values)]
    return quoted(words)


def _hear(path: Path | None, options: Options, hp: HParams) -> tuple[Speech | None, list[str], list[str]]:
    """The speech, None where it cannot be used, and what is wrong with it: problems and remarks."""
    if path is None:
        return None, [], []
    try:
        speech = load_speech(path, options, hp)
    except InputError as error:
        return None, [str(error)], []
    wav = read_audio(path, hp.sample_rate, speech.clock.sound_zero, options.audio_stream)
    remarks = []
    clipped = float((np.abs(wav) > AT_FULL_SCALE * max(1.0, float(np.abs(wav).max()))).mean())
    if clipped > CLIPPED:
        remarks.append(f"clipped sound ({clipped:.1%} of the samples): record it at a lower level")
    if options.level == "keep" and (gain := mels.speech_gain(wav, hp)):
        remarks.append(f"quiet speech ({gain:.0f} dB too low): the mouth will move little; leave out --level keep")
    share = mels.speech_share(mels.frame_powers(wav * np.float32(10 ** (speech.raised / 20)), hp))
    return speech, [], remarks + footage_remarks({"speech_share": share}, ADVICE)


def _search_awhile(finder: FaceFinder, detector: str) -> tuple[list[str], float]:
    """Search faces as a dub does, as far as there is time for: remarks on hard cuts, and how many seconds the whole
    search takes."""
    began = time.perf_counter()

    def awhile(frames: Iterable[TimedFrame], **_: Any) -> Iterator[TimedFrame]:
        return takewhile(lambda frame: frame.number < KEY_STEP or time.perf_counter() - began < SEARCHED, frames)

    found = finder.search(detector, awhile)
    counted = f"{ADVICE['cuts']}, counted in the first {found.times[-1]:.0f} s"
    remarks = footage_remarks({"cuts": len(cuts_at(found.changes))}, {"cuts": counted})
    seconds = (time.perf_counter() - began) / len(found.times)
    return remarks, seconds * finder.source.frames_once(finder.seconds)


def _look(samples: Samples, faces: FaceRegions, hp: HParams, options: Options) -> list[str]:
    """Remarks on what the pictures show."""
    crops = samples.crops(faces)
    if not crops:
        return []
    small = [to_network_size(crop, hp.img_size) for crop in crops]
    chosen = options.face_at is not None or options.face_index is not None
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


def _draw_mouths(dubbed: Sequence[DubbedFrame], path: Path) -> Path | None:
    """Sources above results, cropped to their faces; None where there are none."""
    if not dubbed:
        return None
    pairs = [[square_around(shown, each.rect, MARGIN, VIEW) for shown in (each.before, each.after)] for each in dubbed]
    sources, results = zip(*pairs, strict=True)
    write_png(path, labelled_rows({"source": sources, "result": results}))
    return path


def _number_faces(samples: Samples, faces: FaceRegions | None, path: Path) -> tuple[int, list[FoundFace]]:
    """The frame that shows the most faces, and these, drawn into the file."""
    number, people = frame_with_most_faces(samples.detections.faces)
    if not len(people):
        return number, []
    face = faces.followed[number] if faces and faces.followed else None
    followed = None if face is None else number_of(people, face)
    write_png(path, numbered_faces(yuv.to_bgr(samples.frames[number].picture), people, followed))
    boxes = [tuple(round(float(value)) for value in box[:4]) for box in people]
    return number, [FoundFace(box, n == followed) for n, box in enumerate(boxes)]  # type: ignore[arg-type]


def _estimate(
    plan: DubPlan, faces: FaceRegions, suffix: str, frames: int, starting: float, searching: float
) -> Estimate:
    """From a dub of the plan's frames, all with a face of usual size.

    frames: of the whole dub; starting: seconds for reading weights and speech; searching: for finding the face.
    """
    by_size = sorted((region for region in faces.regions if region), key=lambda region: region.rect.height)
    plan.faces = FaceRegions([by_size[len(by_size) // 2]], [False], faces.detector)
    timer = StageTimer()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"timed{suffix}"
        done = dub_frames(plan, file, file, timer, lambda tasks, **_: tasks)
    dubbing = timer.rounded()["dub"] / max(1, done["frames"]) * frames
    return Estimate(frames, starting + searching + dubbing, searching, peak_megabytes())


def peak_megabytes() -> int | None:
    """The most memory, in MiB, that this process has had so far."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes in what is counted
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MIB
