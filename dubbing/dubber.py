"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

a thread       read: decode, crop the face, its mask (DubPlan.tasks)
another one    generate, own_pixels, match in batches (dubbing/stages.py); score lips against the speech
main thread    composite: put the face into the picture; encode
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from audio import dub_mel_start, mel_column
from dubbing import stages
from dubbing.faces import FaceFinder, FaceRegions
from dubbing.jobs import output_path
from dubbing.networks import Networks, load_networks
from dubbing.occlusion import Masks, OcclusionDetector
from dubbing.options import Options
from dubbing.own_pixels import FAR, FEWEST_FACES, MOST_FACES, MouthBank, OwnPixels, collect, draw, join
from dubbing.paste import FaceRegion, add_label, blend, upright_crop
from dubbing.record import ProgressBar, Record, StageTimer, page_path, record_path, state_record
from dubbing.report import COPY_SIDE, DubReport
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech, load_speech
from dubbing.stages import FaceTask, FrameTask, SyncMonitor, prefetch
from face_detection.crop import to_network_size
from face_detection.find import resembles
from media import yuv
from media.clock import END_HELD, Span
from media.opening import videos_among
from media.sound import sound_clock
from media.writer import VideoWriter
from metrics.sync import Expert
from utils.errors import InputError, flag_named, warn
from utils.files import atomic_writes, existing_file, folders_below, sha256, write_json
from utils.progress import Progress

SAMPLES = 100  # crops from all over the video, at most
OCCLUSION_REFERENCES = 48  # crops that explain what a face without an occluder looks like
INVISIBLE = 0.5 / 255  # a mask that is nowhere above this changes no level
OF_FACES = ("pads", "align", "nosmooth", "face_detector", "no_cache")  # options that hold for --mouths_from, too
BANK_SECONDS = 30.0  # of the video in which own mouths are looked for, at least, however short the dub
QUEUE_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this


class DubPlan:
    """Source and speech of a dub. After use() it also gives the frames as tasks, and has the stages that these go
    through."""

    def __init__(self, networks: Networks, source: Source, speech: Speech) -> None:
        self.networks, self.source, self.speech = networks, source, speech
        self.options = options = source.options
        self.seconds = min(speech.seconds, options.preview or speech.seconds)  # that are dubbed
        self.shown_seconds = source.shown_seconds(self.seconds)  # that the result lasts
        self.frames = source.frames_in(self.seconds)  # about how many the result has
        with flag_named("--final_audio"):
            self.final_clock = sound_clock(options.final_audio) if options.final_audio else None

    def look(self, progress: ProgressBar, timer: StageTimer, faces_file: Path) -> None:
        """Find the face, and use() it. Where crops of it are needed, the video is decoded once more."""
        with timer("faces"):
            finder, own = self.finder(faces_file), self.wants_own_pixels
            faces = replace(finder, seconds=self.searched_seconds).find(progress)
            if own and not any(faces.regions[: self.source.frames_once(self.seconds)]):  # it appears later
                faces, own = finder.find(progress), False
        with timer("references"):
            self.use(faces, faces.crops(self._sampled(faces)) if self.options.occlusion else [])
        if own and self.networks.expert:
            with timer("own_pixels"):
                self._use_own_pixels(progress, self.networks.expert)
        if (self.options.own_pixels == "on" or self.options.mouths_from) and not self.own_pixels:
            shown = self.options.mouths_from or self.source.path
            warn(f"no own mouths: {shown} shows no face for four seconds")

    @cached_property
    def heard(self) -> np.ndarray:
        """The expert's embeddings of the speech, float32 [F, D], of windows that start at frames 0 to F-1."""
        assert self.networks.expert
        return self.networks.expert.embed_mel(self.speech.mel)

    @property
    def wants_own_pixels(self) -> bool:
        """Whether mouths are to be taken from other moments of the video, if it shows enough of them."""
        options, networks = self.options, self.networks
        usable = (options.mouths_from or not self.source.still) and options.paste == "soft" and not options.box
        return networks.own_pixels and networks.expert is not None and bool(usable)

    @property
    def searched_seconds(self) -> float:
        """In which the face is looked for: of a short dub more than is dubbed, where own mouths are wanted."""
        more = min(BANK_SECONDS, self.source.play_seconds) if self.wants_own_pixels else 0.0
        return max(self.seconds, more)

    def _sampled(self, faces: FaceRegions) -> Iterator[TimedFrame]:
        """Frames from all over the video, evenly spaced, at most SAMPLES."""
        count, step = self.source.frames_once(self.seconds), 1
        count = min(count, len(faces.regions)) if faces.detector else count
        while count > SAMPLES * step:
            step *= 2
        return (frame for frame in self.source.iter_once(self.seconds) if frame.number % step == 0)

    def finder(self, faces_file: Path) -> FaceFinder:
        device = self.networks.backend.device
        return FaceFinder(self.source, self.seconds, device, faces_file)

    def use(self, faces: FaceRegions, crops: Sequence[np.ndarray]) -> None:
        """Build the stages for these faces. crops: of the face from all over the video, uint8 BGR [h, w, 3] of any
        sizes, for --occlusion."""
        options, networks, hp = self.options, self.networks, self.networks.hp
        self.faces = faces
        self.occlusion = self._occlusion(crops) if options.occlusion else None
        self.own_pixels: OwnPixels | None = None
        self.masks = Masks(options.paste, hp.img_size, self.occlusion)
        self._last_known: np.ndarray | None = None  # upper half of the last face
        self.stages: dict[str, stages.Stage] = {
            "generate": stages.Generate(networks.generator, self.speech.mel, hp.mel_window)
        }
        self.stages |= {"match": stages.match} if options.paste == "soft" else {}

    def _use_own_pixels(self, progress: ProgressBar, expert: Expert) -> None:
        """Take mouths from the video, decoded once more, and from --mouths_from."""

        def mouths(source: Source, faces: FaceRegions, seconds: float) -> list[MouthBank]:
            bank = collect(source, faces, seconds, expert, progress)
            return [replace(bank, drawn=draw(bank, source, faces, self.networks, expert))] if bank else []

        banks = mouths(self.source, self.faces, self.searched_seconds)
        options = Options(**{name: getattr(self.options, name) for name in OF_FACES})
        for path in self._other_videos():
            missing = MOST_FACES - sum(len(bank.numbers) for bank in banks)
            if missing < FEWEST_FACES:
                break
            print(f"mouths from {path}", flush=True)
            other = Source(path, options)
            seconds = min(missing / expert.hp.fps, other.play_seconds)
            try:
                faces = FaceFinder(other, seconds, self.networks.backend.device).find(progress)
            except InputError as error:
                warn(f"no mouths from {error}")
                continue
            banks += [replace(bank, numbers=bank.numbers + FAR) for bank in mouths(other, faces, seconds)]
        if not banks:
            return
        self.own_pixels = OwnPixels(join(banks), self.heard, expert, float(self.source.rate))
        first: dict[str, stages.Stage] = {"generate": self.stages.pop("generate"), "own_pixels": self.own_pixels}
        self.stages = first | self.stages

    def _other_videos(self) -> list[Path]:
        """What --mouths_from names: a video, or all in a folder but the dubbed one."""
        path = self.options.mouths_from
        if not path or not path.is_dir():
            return [existing_file(path, "--mouths_from")] if path else []
        found = (path for folder in folders_below(path) for path in folder.iterdir())
        videos = [video for video in videos_among(found, tell=False) if not video.samefile(self.source.path)]
        if not videos:
            raise InputError(f"--mouths_from {path}: no other videos in this folder")
        return videos

    def _occlusion(self, crops: Sequence[np.ndarray]) -> OcclusionDetector | None:
        """A warning says what it cannot tell here."""
        if not self.faces.has_landmarks:
            warn("--occlusion: profile views are dubbed; only --face_detector retinaface tells them, without a --box")
        if not crops:
            warn("--occlusion: the video shows too little of the face to tell what covers it")
            return None
        chosen = np.unique(np.linspace(0, len(crops) - 1, OCCLUSION_REFERENCES).astype(int))
        small = [to_network_size(crops[number], self.networks.hp.img_size) for number in chosen]
        return OcclusionDetector(np.stack(small), self.networks.backend.name)

    def tasks(self) -> Generator[FrameTask, None, None]:
        """All output frames, and in each the face to dub."""
        speech, options, hp = self.speech, self.options, self.networks.hp
        extend = self.source.extension(speech.seconds)
        for frame in self.source.extend_frames(self.seconds, extend):
            region = self.faces.at(frame.number) if frame.time < speech.seconds else None
            yield FrameTask(frame, self.face_task(frame, region) if region else None)
            if options.published_timing and mel_column(frame.time, hp) + hp.mel_window > speech.mel.shape[1]:
                return

    def face_task(self, frame: TimedFrame, region: FaceRegion) -> FaceTask | None:
        """The face in this region of a frame, called in the order of the frames; None where nothing of it would be
        seen, or where it lies between detections and does not resemble the last face."""
        crop, hp = upright_crop(frame.picture, region), self.networks.hp
        source_face = to_network_size(crop, hp.img_size)
        upper = source_face[: hp.img_size // 2]
        if region.interpolated and self._last_known is not None and not resembles(upper, self._last_known):
            return None
        self._last_known = upper
        mask = self.masks(region, source_face)
        if mask.max() <= INVISIBLE:
            return None
        start = dub_mel_start(frame.time, self.speech.mel.shape[1], hp, self.options.published_timing)
        return FaceTask(frame, region, source_face, mask, start, source_face)

    def findings(self) -> list[str]:
        """What was found and changed in the files so far, in short phrases."""
        found, final, seconds = [*self.source.findings, *self.speech.findings], self.final_clock, self.shown_seconds
        longer = (final.sound.end if final and final.sound else seconds) - seconds
        if abs(longer) > END_HELD:
            length = f"{longer:.1f} s longer, cut" if longer > 0 else f"{-longer:.1f} s shorter, silence after it"
            found.append(f"final audio {length}")
        return list(dict.fromkeys(found))

    def record(self) -> dict[str, Any]:
        """What a Record says of it, after the dub."""
        source, speech, options, backend = self.source, self.speech, self.options, self.networks.backend
        told = {"covered": self.occlusion is not None, "turned": self.faces.has_landmarks}
        return {
            "face": str(source.path),
            "audio": str(speech.path),
            "generator": {"file": str(self.networks.path), "sha256": self.networks.sha256},
            "own_pixels": self.own_pixels.record() if self.own_pixels else None,
            "engine": backend.name,
            "precision": backend.dtype,
            "device": backend.device,
            "batch_halved": self.networks.generator.oom_retries,
            "silent_share": round(speech.silent, 3),
            "speech_seconds": round(speech.seconds, 3),
            "extend": source.extension(speech.seconds),
            "source_fps": round(float(source.reader.rate), 3) if source.reader else None,
            "fps": round(float(source.rate), 3),
            "part": list(source.part) if source.part else None,
            "damaged_packets": source.reader.damaged_packets if source.reader else 0,
            "findings": self.findings(),  # some are noticed while frames are decoded
            "encoder": source.encoding.encoder,
            "options": source.encoding.options,
            "faces": {"detector": self.faces.detector, "cached": self.faces.cached},
            "occlusion": told if options.occlusion else None,
            "occluded": self.masks.occluded,
            "turned": self.masks.turned,
            "settings": options.as_json(),
        }


class Dubber:
    """Dubs with one set of options. networks: of another Dubber, used where they fit these options; else they are
    loaded, and again where their files have been replaced since the last dub."""

    def __init__(self, options: Options, networks: Networks | None = None) -> None:
        self.options = options
        self.networks = self._current(networks)

    def _current(self, networks: Networks | None) -> Networks:
        if networks and networks.fit(self.options):
            return networks
        loaded = load_networks(self.options)
        print(loaded.summary(), flush=True)
        return loaded

    def dub(self, face: str | Path, audio: str | Path, outfile: str | Path, progress: ProgressBar = Progress) -> Record:
        """Write the dubbed video, <outfile>.json and what else the options ask for.

        face: a video or a picture; audio: any file with sound; outfile: a video, or a folder for it; progress: called
        like tqdm, for bars of another kind; an exception that it raises from one frame to the next, such as a user's
        wish to stop, ends the dub. Raises InputError for what cannot be used. Whatever is raised, no video is written
        then.
        """
        options, timer = self.options, StageTimer()
        if options.preview == 0:
            raise InputError("--preview 0: is one picture and no dub; give seconds")
        self.networks = self._current(self.networks)
        face, audio = Path(face), Path(audio)
        outfile = output_path(face, audio, Path(outfile), options)
        with timer("speech"):
            speech = load_speech(audio, options, self.networks.hp)
            plan = DubPlan(self.networks, Source(face, options, outfile.suffix), speech)
        plan.look(progress, timer, Path(f"{outfile}.faces.png"))
        stale = page_path(outfile).exists()  # a page of an earlier dub is brought up to date
        report = DubReport(plan.frames, plan.source) if options.report or stale else None
        with atomic_writes(outfile, record_path(outfile)) as (video, beside):
            done = dub_frames(plan, outfile, video, timer, progress, report)
            record = Record(
                outfile=str(outfile), **plan.record(), **done, busy=timer.rounded(), video_sha256=sha256(video)
            )
            write_json(beside, asdict(record))
        if report:
            report.write(record)
        return record


def dub_frames(
    plan: DubPlan, outfile: Path, video: Path, timer: StageTimer, progress: ProgressBar, report: DubReport | None = None
) -> dict[str, Any]:
    """Write all frames of a plan, with its sound, to `video`, a file that is to become `outfile`. Returns what a Record
    says of the frames."""
    source, options, expert = plan.source, plan.options, plan.networks.expert
    wanted = plan.networks.generator.batch_size
    batch_size = max(1, min(wanted, QUEUE_BYTES // 2 // source.frame_bytes()))
    if options.wav2lip_batch_size and batch_size < wanted:
        print(f"--wav2lip_batch_size {wanted}: {batch_size}, since frames this large must not fill the memory")
    queued = batch_size // 2 + 1  # before the stages, and behind them
    with timer("score"):
        monitor = SyncMonitor(expert, plan.heard) if expert and not options.no_score else None

    def generated() -> Generator[FrameTask, None, None]:
        with closing(prefetch(plan.tasks(), queued, partial(timer, "read"))) as tasks:
            while batch := list(islice(tasks, batch_size)):
                faces = [task.face for task in batch if task.face]
                for name, stage in plan.stages.items():
                    with timer(name):
                        if faces:
                            stage(faces)
                for task in batch:
                    if monitor:
                        with timer("score"):
                            face = task.face
                            shown = blend(face.generated, face.source_face, face.mask) if face else None
                            monitor.add(task.frame, shown)
                    yield task

    def counted(tasks: Iterable[FrameTask]) -> Generator[FrameTask, None, None]:
        """The tasks, shown by the progress bar, which ends when this is closed."""
        yield from progress(tasks, desc="dubbing", unit="frame", total=plan.frames)

    sound, track, until = plan.speech.path, options.audio_stream, options.preview or inf
    if options.final_audio:
        sound, track, until = options.final_audio, None, plan.shown_seconds
    first, last = source.part or (0.0, inf)
    shown = Span(first, min(last, first + plan.shown_seconds))
    writer = VideoWriter(
        outfile, source.rate, sound, source.opened, source.encoding, track, until, dubbed=True, part=video, shown=shown
    )
    beside = None
    if options.side_by_side:
        beside = VideoWriter(Path(f"{outfile}.side_by_side.mp4"), source.rate, sound, None, None, track, until, True)
    states: list[tuple[str, float]] = []
    with (
        timer("dub"),
        writer,
        beside or nullcontext(),
        closing(prefetch(generated(), queued)) as waiting,
        closing(counted(waiting)) as tasks,
    ):
        for task in tasks:
            picture, time = task.frame.picture, task.frame.time
            before = yuv.to_bgr(picture) if report and report.note(task) else None
            left = yuv.reduced_bgr(picture, COPY_SIDE)[0] if beside else None
            if task.face:
                with timer("composite"):
                    stages.composite(task.face, options.paste)
            if report and before is not None and task.face:
                report.add(time, before, yuv.to_bgr(picture), task.face.region.rect)
            if options.label:
                add_label(picture)
            with timer("encode"):
                writer.write_picture(picture, time)
                if beside and left is not None:
                    beside.write(np.hstack([left, yuv.reduced_bgr(picture, COPY_SIDE)[0]]), time)
            states.append((task.state, time))
    return state_record(states, 1 / float(writer.rate)) | {"sync": monitor.result() if monitor else None}
