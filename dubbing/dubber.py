"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

a thread       read: decode, crop the faces, their masks (DubPlan.tasks)
another one    generate, own_pixels, match in batches (DubPlan.draw); score lips against the speech
main thread    composite: put the faces into the picture; encode
"""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from audio import mel_column
from dubbing import stages
from dubbing.faces import FaceFinder, FaceRegions
from dubbing.jobs import output_path
from dubbing.live import LiveDub
from dubbing.networks import Networks, load_networks
from dubbing.options import Options
from dubbing.paste import add_label, blend
from dubbing.person import Person
from dubbing.record import ProgressBar, Record, StageTimer, page_path, record_path, state_record
from dubbing.report import COPY_SIDE, DubReport
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech, load_speeches
from dubbing.stages import FrameTask, prefetch
from dubbing.turns import speakers
from dubbing.voices import Audio, Place, Voices, voices_of
from media import yuv
from media.clock import END_HELD, Span
from media.live_sound import Piece
from media.live_writer import LiveFrame
from media.sound import mix, sound_clock
from media.writer import VideoWriter
from utils.errors import InputError, flag_named, warn
from utils.files import atomic_writes, sha256, write_json
from utils.progress import Progress

SAMPLES = 100  # crops from all over the video, at most
BANK_SECONDS = 30.0  # of the video in which own mouths are looked for, at least, however short the dub
OF_PERSON = ("sync", "own_pixels", "silent_share", "occlusion", "occluded", "turned")  # in a Record
QUEUE_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this


class DubPlan:
    """Source and people of a dub. After their use() it also gives the frames as tasks, and draws the faces in them."""

    def __init__(self, networks: Networks, source: Source, speeches: Mapping[Place | None, Speech]) -> None:
        """speeches: of every person, equally long; one for None with --speaking_only becomes everybody's."""
        self.networks, self.source = networks, source
        self.options = options = source.options
        self.people = [Person(networks, options, speech, who) for who, speech in speeches.items()]
        self.speech_seconds = self.people[0].speech.seconds
        self.seconds = min(self.speech_seconds, options.preview or self.speech_seconds)  # that are dubbed
        self.shown_seconds = source.shown_seconds(self.seconds)  # that the result lasts
        self.frames = source.frames_in(self.seconds)  # about how many the result has
        with flag_named("--final_audio"):
            self.final_clock = sound_clock(options.final_audio) if options.final_audio else None
        self.sound = options.final_audio or self.people[0].speech.path  # of the result
        self.lowered = 0.0  # decibels, where a conversation's sound would clip
        self.unsure: list[Span] = []  # seconds in which it is not sure who is who

    def look(self, progress: ProgressBar, timer: StageTimer, faces_file: Path) -> None:
        """Find the face of every person. Where crops of it are needed, the video is decoded once more."""
        with timer("faces"):
            finder, own = self.finder(faces_file), self.wants_own_pixels
            found = self._faces(replace(finder, seconds=self.searched_seconds), progress)
            dubbed = self.source.frames_once(self.seconds)
            if own and not any(any(faces.regions[:dubbed]) for faces in found):  # they appear later
                found, own = self._faces(finder, progress), False
        if self.options.speaking_only:
            speech = self.people[0].speech
            self.people = [Person(self.networks, self.options, speech, number) for number in range(len(found))]
        for person, faces in zip(self.people, found, strict=True):
            with timer("references"):
                person.use(faces, faces.crops(self._sampled(faces)) if self.options.occlusion else [])
            if own:
                with timer("own_pixels"):
                    person.use_own_pixels(self.source, self.searched_seconds, progress)
            if (self.options.own_pixels == "on" or self.options.mouths_from) and not person.own_pixels:
                shown = self.options.mouths_from or self.source.path
                warn(f"no own mouths: {shown} shows nobody talk for four seconds")
        if self.options.speaking_only:
            with timer("turns"):
                self._take_turns(progress)

    def _faces(self, finder: FaceFinder, progress: ProgressBar) -> list[FaceRegions]:
        """Of every person; with --speaking_only of everybody in the video."""
        wanted = [person.place for person in self.people if person.place is not None]
        if not wanted and not self.options.speaking_only:
            return [finder.find(progress)]
        found, self.unsure = finder.find_people(progress, wanted or None)
        return found

    def _take_turns(self, progress: ProgressBar) -> None:
        """Leave every person only the faces of frames in which they speak."""
        if not (expert := self.networks.expert):
            raise InputError("--speaking_only: needs a lip-sync expert, which tells who speaks; none is installed")
        numbers = speakers(self.source, [person.faces for person in self.people], self.seconds, expert, progress)
        for number, person in enumerate(self.people, 1):
            shown = zip(person.faces.regions, numbers == number, strict=False)  # regions may go on for longer
            person.faces = replace(person.faces, regions=[region if speaks else None for region, speaks in shown])

    @property
    def wants_own_pixels(self) -> bool:
        return self.people[0].wants_own_pixels(self.source)

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

    def tasks(self) -> Generator[FrameTask, None, None]:
        """All output frames, and in each the faces to dub."""
        mel, hp = self.people[0].speech.mel, self.networks.hp
        for frame in self.source.extend_frames(self.seconds, self.source.extension(self.speech_seconds)):
            yield FrameTask(frame, [person.task(frame) for person in self.people])
            if self.options.published_timing and mel_column(frame.time, hp) + hp.mel_window > mel.shape[1]:
                return

    def draw(self, tasks: Sequence[FrameTask], timer: StageTimer) -> None:
        """Bring successive frames' faces through all stages up to the composite: those of all people together through
        the generator, then each person's through the stages that are theirs."""
        if faces := [face for task in tasks for face in task.faces if face]:
            with timer("generate"):
                stages.generate(self.networks.generator, faces)
        for person, shown in zip(self.people, zip(*(task.faces for task in tasks), strict=True), strict=True):
            faces = [face for face in shown if face]
            for name, stage in person.stages.items():
                with timer(name):
                    if faces:
                        stage(faces)

    @contextmanager
    def mixed(self, voices: Voices) -> Iterator[None]:
        """Within the block the sound of a conversation is that of all its voices."""
        if None in voices or self.options.final_audio:
            yield
            return
        with tempfile.TemporaryDirectory() as folder:
            parts, stream = [part for parts in voices.values() for part in parts], self.options.audio_stream
            self.sound, self.lowered = mix(parts, self.seconds, Path(folder), stream)
            yield

    def findings(self) -> list[str]:
        """What was found and changed in the files so far, in short phrases."""
        final, seconds = self.final_clock, self.shown_seconds
        found = [*self.source.findings, *(finding for person in self.people for finding in person.speech.findings)]
        longer = (final.sound.end if final and final.sound else seconds) - seconds
        if abs(longer) > END_HELD:
            length = f"{longer:.1f} s longer, cut" if longer > 0 else f"{-longer:.1f} s shorter, silence after it"
            found.append(f"final audio {length}")
        if self.lowered:
            found.append(f"voices together {self.lowered:.1f} dB lower")
        return list(dict.fromkeys(found))

    def record(self) -> dict[str, Any]:
        """What a Record says of it, after the dub."""
        source, options, backend = self.source, self.options, self.networks.backend
        faces, people = self.people[0].faces, [person.record() for person in self.people]
        weakest = min(people, key=lambda person: person["sync"].lse_c if person["sync"] else inf)
        return {
            "face": str(source.path),
            "audio": " + ".join(dict.fromkeys(person["audio"] for person in people)),
            "people": people,
            **{name: weakest[name] for name in OF_PERSON},
            "unsure": [[round(start, 3), round(end, 3)] for start, end in self.unsure],
            "generator": {"file": str(self.networks.path), "sha256": self.networks.sha256},
            "engine": backend.name,
            "precision": backend.dtype,
            "device": backend.device,
            "batch_halved": self.networks.generator.oom_retries,
            "speech_seconds": round(self.speech_seconds, 3),
            "extend": source.extension(self.speech_seconds),
            "source_fps": round(float(source.reader.rate), 3) if source.reader else None,
            "fps": round(float(source.rate), 3),
            "part": list(source.part) if source.part else None,
            "damaged_packets": source.reader.damaged_packets if source.reader else 0,
            "findings": self.findings(),  # some are noticed while frames are decoded
            "encoder": source.encoding.encoder,
            "options": source.encoding.options,
            "faces": {"detector": faces.detector, "cached": faces.cached},
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

    def dub(self, face: str | Path, audio: Audio, outfile: str | Path, progress: ProgressBar = Progress) -> Record:
        """Write the dubbed video, <outfile>.json and what else the options ask for.

        face: a video or a picture; audio: any file with sound, or {person: file} (dubbing/voices.py);
        outfile: a video, or a folder for it; progress: called like tqdm, for bars of another kind; an exception that it
        raises from one frame to the next, such as a user's wish to stop, ends the dub. Raises InputError for what
        cannot be used. Whatever is raised, no video is written then.
        """
        options, timer = self.options, StageTimer()
        if options.preview == 0:
            raise InputError("--preview 0: is one picture and no dub; give seconds")
        self.networks = self._current(self.networks)
        face, voices = Path(face), voices_of(audio)
        outfile = output_path(face, voices, Path(outfile), options)
        with timer("speech"):
            speeches = load_speeches(voices, options, self.networks.hp)
            plan = DubPlan(self.networks, Source(face, options, outfile.suffix), speeches)
        plan.look(progress, timer, Path(f"{outfile}.faces.png"))
        stale = page_path(outfile).exists()  # a page of an earlier dub is brought up to date
        report = DubReport(plan.frames, plan.source) if options.report or stale else None
        with plan.mixed(voices), atomic_writes(outfile, record_path(outfile)) as (video, beside):
            done = dub_frames(plan, outfile, video, timer, progress, report)
            with timer("score"):
                told = plan.record()
            record = Record(outfile=str(outfile), **told, **done, busy=timer.rounded(), video_sha256=sha256(video))
            write_json(beside, asdict(record))
        if report:
            report.write(record)
        return record

    def stream(self, face: str | Path, chunks: Iterable[np.ndarray]) -> Iterator[LiveFrame]:
        """The frames of an idle video, or of a picture, with lips that follow speech while it is spoken: float [n], any
        number of samples in each chunk, mono, at 16 kHz. A frame comes as soon as its speech is there."""
        dub = LiveDub(Path(face), self.options, self.networks)
        return dub.frames(Piece(np.asarray(chunk, np.float32), monotonic()) for chunk in chunks)


def dub_frames(
    plan: DubPlan, outfile: Path, video: Path, timer: StageTimer, progress: ProgressBar, report: DubReport | None = None
) -> dict[str, Any]:
    """Write all frames of a plan, with its sound, to `video`, a file that is to become `outfile`. Returns what a Record
    says of the frames."""
    source, options = plan.source, plan.options
    wanted = plan.networks.generator.batch_size
    batch_size = max(1, min(wanted, QUEUE_BYTES // 2 // source.frame_bytes()))
    if options.wav2lip_batch_size and batch_size < wanted:
        print(f"--wav2lip_batch_size {wanted}: {batch_size}, since frames this large must not fill the memory")
    queued = batch_size // 2 + 1  # before the stages, and behind them
    with timer("score"):
        monitors = [person.monitor for person in plan.people]  # embeds the speech

    def generated() -> Generator[FrameTask, None, None]:
        with closing(prefetch(plan.tasks(), queued, partial(timer, "read"))) as tasks:
            while batch := list(islice(tasks, batch_size)):
                plan.draw(batch, timer)
                for task in batch:
                    for monitor, face in zip(monitors, task.faces, strict=True):
                        if monitor:
                            with timer("score"):
                                shown = blend(face.generated, face.source_face, face.mask) if face else None
                                monitor.add(task.frame, shown)
                    yield task

    def counted(tasks: Iterable[FrameTask]) -> Generator[FrameTask, None, None]:
        """The tasks, shown by the progress bar, which ends when this is closed."""
        yield from progress(tasks, desc="dubbing", unit="frame", total=plan.frames)

    sound, until = plan.sound, plan.shown_seconds if options.final_audio else options.preview or inf
    track = options.audio_stream if sound == plan.people[0].speech.path else None
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
            for face in filter(None, task.faces):
                with timer("composite"):
                    stages.composite(face, options.paste)
            if report and before is not None and task.loudest:
                report.add(time, before, yuv.to_bgr(picture), task.loudest.region.rect)
            if options.label:
                add_label(picture)
            with timer("encode"):
                writer.write_picture(picture, time)
                if beside and left is not None:
                    beside.write(np.hstack([left, yuv.reduced_bgr(picture, COPY_SIDE)[0]]), time)
            states.append((task.state, time))
    return state_record(states, 1 / float(writer.rate))
