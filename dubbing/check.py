"""A look at footage and speech before a dub: what is wrong with them, what the mouth will look like, how long it takes.

report = check(Path("talk.mp4"), Path("speech.wav"), Path("out.mp4"), Options())
print(report.text()); json.dumps(asdict(report))
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

import audio as mels
from dubbing.estimate import Estimate, estimate
from dubbing.faces import no_face, turning
from dubbing.mouths import limits
from dubbing.networks import load_networks
from dubbing.numbered import followed_number, numbered_faces, place_of
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.options import Options
from dubbing.pose import FRONTAL, LANDMARKS, may_lie, yaw
from dubbing.refining import refine_stage
from dubbing.samples import Samples, look_at, spread
from dubbing.source import Source
from dubbing.speech import Speech, load_speech
from dubbing.still import draw, loudest_times, sheet_of, shown_seconds
from face_detection.boxes import LONGEST_SIDE
from face_detection.crop import to_network_size
from face_detection.find import CutFinder, several_people
from face_detection.track import most_at_once
from hparams import HParams
from media import codecs, yuv
from media.sound import read_audio
from metrics import footage
from models.published import BUNDLED_GENERATOR
from utils.cli import quoted
from utils.errors import InputError
from utils.images import write_png
from utils.options import written

SAMPLES, DRAWN = 14, 3  # frames that are looked at, and of which mouths are drawn
WATCHED = 4.0  # seconds of work in which a video is watched for hard cuts, from its beginning
PROFILES, COVERED = 0.15, 0.1  # shares of the looked-at frames from which on they are mentioned
CLIPPED, AT_FULL_SCALE = 0.001, 0.999  # share of the samples that are at full scale
ADVICE = {
    "face_share": "the others stay as filmed",
    "several_people": "one is followed; choose by --face_at or --face_index",
    "cuts": "the face is found anew in each shot; a choice holds where that person stays in place",
    "face_height": "the mouth will show little; film closer, or take a copy of higher resolution",
    "sharpness": "the new mouth may look sharper than the face; use sharper footage",
    "speech_share": "elsewhere the mouth rests",
}


@dataclass(frozen=True)
class FoundFace:
    """One of the faces of a frame. number: from the left, from 0; box: x1, y1, x2, y2 in pixels of the frame as it is
    dubbed; followed: whether it is the one that is dubbed."""

    number: int
    box: tuple[int, int, int, int]
    followed: bool


@dataclass(frozen=True)
class CheckReport:
    """face, audio, outfile: as given; usable: whether a dub would be made; problems: why not; remarks: what is less
    than good, and what to do; limits: what of the footage the weights draw badly; findings: what of the files will be
    changed; faces: of the frame at `faces_time` seconds, which `faces_picture` shows with their numbers; weights: what
    Networks.in_words says; mouths: a picture of some frames, source above result, None where there is no speech;
    estimate: None likewise; seconds: that the check took; command: the dub, to be copied."""

    face: str
    audio: str | None
    outfile: str
    usable: bool
    problems: list[str]
    remarks: list[str]
    limits: list[str]
    findings: list[str]
    faces: list[FoundFace]
    faces_time: float
    faces_picture: str | None
    weights: str
    mouths: str | None
    estimate: Estimate | None
    seconds: float
    command: str

    def text(self) -> str:
        """For a terminal."""
        lines = [*(f"problem: {line}" for line in self.problems), *(f"remark: {line}" for line in self.remarks)]
        lines += [f"found: {', '.join(self.findings)}"] if self.findings else []
        lines += [] if lines else ["nothing is wrong with the footage"]
        if self.faces_picture:
            places = [
                f"{face.number} at {place_of(np.array(face.box))}{' (followed)' if face.followed else ''}"
                for face in self.faces
            ]
            lines.append(f"faces at {self.faces_time:.2f} s: {', '.join(places)}; see {self.faces_picture}")
        lines.append(self.weights)
        lines += [self.limits_in_words()] if self.limits else []
        lines += [f"mouths: see {self.mouths}"] if self.mouths else []
        lines += [estimate_in_words(self.estimate)] if self.estimate else []
        return "\n".join([*lines, *([self.command] if self.usable else [])])

    def limits_in_words(self) -> str:
        return f"these weights cannot do well what this footage shows: {', '.join(self.limits)}"


def check(face: Path, audio: Path | None, outfile: Path, options: Options) -> CheckReport:
    """Look at a video, and speech if there is some, as a dub to `outfile` with these options would take them. Writes
    <outfile>.faces.png and, where there is speech, <outfile>.check.png.

    audio: else the video's own sound is looked at. Raises InputError for files that cannot be read at all.
    """
    began = time.perf_counter()
    networks = load_networks(options)
    source = Source(face, options.transform, options.static, options.frame_rate, options.start, options.end)
    encoding = codecs.choose(options.codec, outfile.suffix, source.pix_fmt, options.crf, options.preset)
    own = face if source.reader and source.reader.has_sound else None
    speech, problems, remarks = _hear(audio or own, options, networks.hp)
    if audio is None:  # the video's own sound need not be speech
        problems, remarks = [], []
    starting = time.perf_counter() - began
    seconds = min(shown_seconds(source, speech), options.preview or np.inf)
    watched = _watch(source, encoding.pix_fmt, seconds)
    loud = loudest_times(speech.mel, networks.hp, seconds, DRAWN) if speech else []
    times = sorted({*spread(seconds, SAMPLES), *loud}) if np.isfinite(seconds) else [0.0]
    frames = source.frames_at(encoding.pix_fmt, times, seconds / SAMPLES if np.isfinite(seconds) else 0.0)
    faces_file = Path(f"{outfile}.faces.png")
    samples = look_at(frames, options, networks.generator.device, faces_file)
    regions = samples.regions(source, options)
    if not any(regions):
        problems.append(no_face(source, encoding.pix_fmt, seconds, options))
    known = [found for found in samples.followed if found is not None]
    if not options.align and not options.box and may_lie(known):
        advice = turning(source, encoding.pix_fmt, seconds, options)
        problems += [f"--face {face}: {advice}"] if advice and any(regions) else []
    if not problems:  # what lies or is not there cannot be judged
        remarks = [*_of_pictures(samples, regions, watched, networks.hp, options), *remarks]

    hard = []
    if networks.path == BUNDLED_GENERATOR and not problems:
        shown = [
            (frame, face) for frame, face in zip(samples.frames, samples.followed, strict=True) if face is not None
        ]
        hard = limits([yuv.to_bgr(frame.picture) for frame, _ in shown], [face for _, face in shown])
    mouths = cost = None
    if speech and any(regions) and not problems:
        drawn = draw(samples.in_times(loud), samples, source, encoding.pix_fmt, speech, networks, options)
        if drawn:
            mouths = Path(f"{outfile}.check.png")
            write_png(mouths, sheet_of(drawn))
        refine = refine_stage(networks.refiner, samples.crops(regions))
        usual = sorted((region for region in regions if region), key=lambda region: region.rect.height)
        cost = estimate(
            source, speech, encoding, networks, refine, usual[len(usual) // 2], options, outfile.suffix,
            watched.seconds, samples.seconds, starting,
        )  # fmt: skip
    number, faces = _numbered(samples, faces_file)
    return CheckReport(
        face=str(face),
        audio=None if audio is None else str(audio),
        outfile=str(outfile),
        usable=not problems,
        problems=problems,
        remarks=remarks,
        limits=hard,
        findings=_findings(source, speech if audio else None),
        faces=faces,
        faces_time=round(samples.frames[number].time, 3),
        faces_picture=str(faces_file) if faces else None,
        weights=networks.in_words(),
        mouths=None if mouths is None else str(mouths),
        estimate=cost if audio else None,
        seconds=round(time.perf_counter() - began, 2),
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
        speech = load_speech(path, options.audio_stream, options.silence == "rest", hp, options.level == "keep")
    except InputError as error:
        return None, [str(error)], []
    wav = read_audio(path, hp.sample_rate, speech.clock.sound_zero, options.audio_stream)
    remarks = []
    clipped = float((np.abs(wav) > AT_FULL_SCALE * max(1.0, float(np.abs(wav).max()))).mean())
    if clipped > CLIPPED:
        remarks.append(f"clipped sound ({clipped:.1%} of the samples): record it at a lower level")
    if options.level == "keep":
        gain = mels.speech_gain(wav, hp)
        remarks += [f"quiet speech ({gain:.0f} dB too low): the mouth will move little; leave out --level keep"] * bool(
            gain
        )
    share = mels.speech_share(mels.frame_powers(wav * np.float32(10 ** (speech.raised / 20)), hp))
    return speech, [], remarks + footage.remarks({"speech_share": share}, ADVICE)


@dataclass(frozen=True)
class Watched:
    """cuts: hard cuts in the first `until` seconds of the video; whole: whether that is all that is dubbed; seconds: of
    work that a frame took."""

    cuts: int
    until: float
    whole: bool
    seconds: float


def _watch(source: Source, pix_fmt: str, limit: float) -> Watched:
    """Decode the video as for the search for faces, as far as there is time for."""
    finder, began, until, count = CutFinder(), time.perf_counter(), 0.0, 0
    whole = True

    def images() -> Iterator[np.ndarray]:
        nonlocal until, count, whole
        for frame in source.iter_once(pix_fmt, limit):
            if time.perf_counter() - began > WATCHED:
                whole = False
                return
            until, count = frame.time, count + 1
            yield yuv.reduced_bgr(frame.picture, LONGEST_SIDE)[0]

    for _ in finder.watch(images()):
        pass
    return Watched(len(finder.cuts()), until, whole, (time.perf_counter() - began) / max(1, count))


def _of_pictures(samples: Samples, regions: list, watched: Watched, hp: HParams, options: Options) -> list[str]:
    """Remarks on what the pictures show."""
    if options.box or not any(regions):
        return []
    crops = samples.crops(regions)
    faces = [face for face in samples.followed if face is not None]
    small = [to_network_size(crop, hp.img_size) for crop in crops]
    facts = {
        "face_share": len(crops) / len(regions),
        "several_people": several_people(samples.detections) if options.face_at is options.face_index is None else 0.0,
        "cuts": watched.cuts,
        "face_height": float(np.median([len(crop) for crop in crops])),
        "sharpness": footage.sharpness(np.stack(small)),
    }
    part = "" if watched.whole else f", counted in the first {watched.until:.0f} s"
    remarks = footage.remarks(facts, ADVICE | {"cuts": ADVICE["cuts"] + part})
    turned = np.mean([abs(float(yaw(face[LANDMARKS]))) > FRONTAL for face in faces])
    instead = "they fade to the source" if options.occlusion else "try --occlusion, which leaves them as filmed"
    remarks += [f"profile views in {turned:.0%} of the frames: {instead}"] if turned > PROFILES else []
    covered = _covered(small)
    instead = "" if options.occlusion else ": use --occlusion, which keeps it in front"
    remarks += [f"something covers the mouth in {covered:.0%} of the frames{instead}"] if covered > COVERED else []
    return remarks


def _covered(faces: list[np.ndarray]) -> float:
    """Share of the faces, uint8 BGR [S, S, 3], whose mouth something covers."""
    detector = OcclusionDetector(np.stack(faces))
    hidden = []
    for face in faces:
        detector.reset()
        detector.visible(face)  # what covers a face counts from the second frame on
        hidden.append(hidden_share(detector.visible(face)) >= OCCLUDED)
    return float(np.mean(hidden))


def _numbered(samples: Samples, path: Path) -> tuple[int, list[FoundFace]]:
    """The frame that shows the most faces, and these, drawn into the file."""
    number, people = most_at_once(samples.detections)
    if not len(people):
        return number, []
    track = samples.track
    followed = followed_number(people, track.boxes[number]) if track.found[number] else None
    picture = yuv.to_bgr(samples.frames[number].picture)
    write_png(path, numbered_faces(picture, people, followed))
    boxes = [tuple(round(float(value)) for value in box[:4]) for box in people]
    return number, [FoundFace(n, box, n == followed) for n, box in enumerate(boxes)]  # type: ignore[arg-type]


def _findings(source: Source, speech: Speech | None) -> list[str]:
    return list(dict.fromkeys([*source.findings, *(speech.findings if speech else [])]))


def estimate_in_words(cost: Estimate) -> str:
    faces = f", {cost.faces:.0f} of them for finding the face, once" if cost.faces >= 1 else ""
    memory = f"; memory: {cost.megabytes} MiB" if cost.megabytes else ""
    gpu = f", of the GPU's {cost.gpu_megabytes} MiB" if cost.gpu_megabytes else ""
    return f"a dub of {cost.frames} frames takes about {cost.seconds:.0f} s here{faces}{memory}{gpu}"
