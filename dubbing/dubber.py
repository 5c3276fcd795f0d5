"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

thread "prefetch"  read: decode, crop the face, its mask (dubbing/reading.py)
main thread        generate, refine, match in batches (dubbing/stages.py); score lips against the speech
thread "sink"      composite: put the face into the picture; encode
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from math import inf
from pathlib import Path

import numpy as np

from dubbing.faces import FaceRegions, find_regions
from dubbing.jobs import output_path
from dubbing.networks import Networks, load_networks
from dubbing.occlusion import OcclusionDetector
from dubbing.options import Options
from dubbing.reading import FrameReader, Masks
from dubbing.record import Progress, Record, StageTimer, StateLog, digest, page_path, record_path
from dubbing.refining import FrameSampler, Refine, refine_stage
from dubbing.report import DubReport
from dubbing.source import Source
from dubbing.speech import Speech, load_speech
from dubbing.stages import (
    BackgroundSink,
    Composite,
    FrameTask,
    Generate,
    SyncMonitor,
    composited,
    dub_stages,
    prefetch,
    run_stages,
)
from face_detection.crop import to_network_size
from media import codecs, yuv
from media.clock import END_HELD, Clock, Span
from media.sound import sound_clock
from media.writer import VideoWriter
from utils.errors import InputError, flag_named, warn
from utils.files import atomic_writes, write_json
from utils.progress import Progress as Bar

OCCLUSION_REFERENCES = 48  # crops that explain what a face without an occluder looks like
QUEUE_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this


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
        print(loaded.in_words(), flush=True)
        return loaded

    def dub(self, face: str | Path, audio: str | Path, outfile: str | Path, progress: Progress = Bar) -> Record:
        """Write the dubbed video, <outfile>.json and what else the options ask for.

        face: a video or a picture; audio: any file with sound; outfile: a video, or a folder for it; progress: called
        like tqdm, for bars of another kind; an exception that it raises from one frame to the next, such as a user's
        wish to stop, ends the dub. Raises InputError for what cannot be used. Whatever is raised, no video is written
        then.
        """
        if self.options.preview == 0:
            raise InputError("--preview 0: is one picture and no dub; give seconds")
        self.networks = self._current(self.networks)
        options, networks, hp, timer = self.options, self.networks, self.networks.hp, StageTimer()
        face, audio = Path(face), Path(audio)
        outfile = output_path(face, audio, Path(outfile), options)
        with timer("speech"):
            speech = load_speech(audio, options.audio_stream, options.silence == "rest", hp, options.level == "keep")
            monitor = SyncMonitor(networks.expert, speech.mel) if networks.expert else None
        source = Source(face, options.transform, options.static, options.frame_rate, options.start, options.end)
        encoding = codecs.choose(options.codec, outfile.suffix, source.pix_fmt, options.crf, options.preset)
        pix_fmt, seconds = encoding.pix_fmt, min(speech.seconds, options.preview or speech.seconds)
        whole = options.plays_whole
        shown_seconds, mixed = source.shown_seconds(seconds, whole), options.final_audio
        sound = (mixed, None, shown_seconds) if mixed else (audio, options.audio_stream, options.preview)
        with flag_named("--final_audio"):
            final = sound_clock(mixed) if mixed else None
        faces, refine, occlusion = self._look(source, pix_fmt, seconds, timer, progress, outfile)
        masks = Masks(options.paste, hp.img_size, occlusion)

        stages = dub_stages(Generate(networks.generator, speech.mel, hp.mel_window), refine, options.paste)
        size = refine.refiner.size if refine else None
        reader = FrameReader(source, pix_fmt, seconds, faces, speech, masks, size, hp, options)
        frames = source.frames_in(seconds, whole)
        track, number, until = sound
        batch_size = _batch_size(networks, options, source.frame_bytes(pix_fmt))
        queued = batch_size // 2 + 1  # before the stages, and behind them

        def generated(tasks: Iterator[FrameTask]) -> Generator[FrameTask, None, None]:
            while batch := list(islice(tasks, batch_size)):
                for task in run_stages(batch, stages, timer):
                    if monitor:
                        with timer("score"):
                            monitor.add(task.frame, composited(task.face) if task.face else None)
                    yield task

        def counted(tasks: Iterable[FrameTask]) -> Generator[FrameTask, None, None]:
            """The tasks, shown by the progress bar, which ends when this is closed."""
            yield from progress(tasks, desc="dubbing", unit="frame", total=frames)

        with atomic_writes(outfile, record_path(outfile)) as (video, beside):
            first, last = source.part or (0.0, inf)
            writer = VideoWriter(
                outfile, source.rate, track, source.opened, encoding, number, until, dubbed=True, part=video,
                shown=Span(first, min(last, first + shown_seconds)),
            )  # fmt: skip
            stale = page_path(outfile).exists()  # a page of an earlier dub is brought up to date
            report = DubReport(frames, source) if options.report or stale else None
            output = Output(writer, Composite(options.paste), report, timer)
            with (
                timer("dub"),
                writer,
                BackgroundSink[FrameTask](output.add, queued) as sink,
                closing(prefetch(timer.each("read", reader.tasks()), queued)) as waiting,
                closing(counted(generated(waiting))) as shown,
            ):
                for task in shown:
                    sink.put(task)
            generator, counts = networks.generator, output.states.counts
            record = Record(
                face=str(face),
                audio=str(audio),
                outfile=str(outfile),
                generator={"file": str(networks.path), "sha256": networks.sha256},
                refiner=refine.record() if refine else None,
                engine=generator.engine,
                precision=generator.precision,
                device=generator.device,
                timing="published" if options.published_timing else "training",
                paste=options.paste,
                silence=options.silence,
                silent_share=round(speech.silent, 3),
                extend=source.extension(options.extend, speech.seconds),
                source_fps=round(float(source.reader.rate), 3) if source.reader else None,
                fps=round(float(source.rate), 3),
                encoder=encoding.encoder,
                options=encoding.options,
                speech_seconds=round(speech.seconds, 3),
                findings=_findings(source, speech, final, shown_seconds),  # some are noticed as frames are decoded
                preview_seconds=options.preview,
                part=list(source.part) if source.part else None,
                final_audio=str(mixed) if mixed else None,
                frames=sum(counts.values()),
                **counts,  # type: ignore[arg-type]
                occlusion={"covered": occlusion.has_evidence, "turned": faces.landmarks} if occlusion else None,
                occluded=masks.occluded,
                turned=masks.turned,
                ranges=output.states.ranges(),
                faces={"detector": faces.detector, "cached": faces.cached},
                damaged_packets=source.reader.damaged_packets if source.reader else 0,
                batch_halved=generator.halved,
                sync=monitor.result() if monitor else None,
                busy=timer.rounded(),
                settings=options.as_json(),
            )
            record = replace(record, video_sha256=digest(video))
            write_json(beside, asdict(record))
        if report:
            report.write(record)
        return record

    def _look(
        self, source: Source, pix_fmt: str, seconds: float, timer: StageTimer, progress: Progress, outfile: Path
    ) -> tuple[FaceRegions, Refine | None, OcclusionDetector | None]:
        """Where the face is; and what refines it and what finds that which covers it, of which both may need pictures
        from all over the video. These are kept while faces are looked for; where none have to be, it is decoded for
        them."""
        options, networks = self.options, self.networks
        by_video = options.occlusion or (networks.refiner and not networks.refiner.bank)
        sampler = FrameSampler(source.frame_bytes(pix_fmt)) if by_video else None
        with timer("faces"):
            device = networks.generator.device
            faces_file = Path(f"{outfile}.faces.png")
            faces = find_regions(source, pix_fmt, seconds, options, device, progress, sampler, faces_file)
        with timer("references"):
            if sampler and not sampler.frames:
                for frame in source.iter_once(pix_fmt, seconds):
                    sampler.add(frame)
            crops = sampler.crops(lambda number: faces.at(number)[0]) if sampler else []
            occlusion = _occlusion(crops, networks.hp.img_size, faces) if options.occlusion else None
            return faces, refine_stage(networks.refiner, crops), occlusion


class Output:
    """Composites the tasks of a dub into their frames and encodes these, in their order.

    report: what --report shows, where it is wanted; states: of the frames so far.
    """

    def __init__(self, writer: VideoWriter, composite: Composite, report: DubReport | None, timer: StageTimer) -> None:
        self.writer, self.composite, self.report, self.timer = writer, composite, report, timer
        self.states = StateLog()

    def add(self, task: FrameTask) -> None:
        picture, time = task.frame.picture, task.frame.time
        before = yuv.to_bgr(picture) if self.report and self.report.note(task) else None
        run_stages([task], {"composite": self.composite}, self.timer)
        if self.report and before is not None and task.face:
            self.report.add(time, before, yuv.to_bgr(picture), task.face.region.rect)
        with self.timer("encode"):
            self.writer.write_picture(picture, time)
        self.states.add(task.state, time, 1 / float(self.writer.rate))


def _findings(source: Source, speech: Speech, final: Clock | None, seconds: float) -> list[str]:
    """What was found and changed in the files, in short phrases. final: of --final_audio; seconds: of the result."""
    found = [*source.findings, *speech.findings]
    longer = (final.sound.end if final and final.sound else seconds) - seconds
    if abs(longer) > END_HELD:
        found.append(f"final audio {abs(longer):.1f} s {'longer, cut' if longer > 0 else 'shorter, silence after it'}")
    return list(dict.fromkeys(found))


def _occlusion(crops: list[np.ndarray], size: int, faces: FaceRegions) -> OcclusionDetector:
    """What finds occlusion; a warning says what it cannot tell here."""
    chosen = np.unique(np.linspace(0, max(0, len(crops) - 1), OCCLUSION_REFERENCES).astype(int))[: len(crops)]
    small = [to_network_size(crops[number], size) for number in chosen]
    occlusion = OcclusionDetector(np.stack(small) if small else np.empty((0, size, size, 3), np.uint8))
    if not occlusion.has_evidence:
        warn("--occlusion: the video shows too little of the face to tell what covers it")
    if not faces.landmarks:
        warn("--occlusion: profile views are dubbed; only --face_detector retinaface tells them, without a --box")
    return occlusion


def _batch_size(networks: Networks, options: Options, frame_bytes: int) -> int:
    most, wanted = QUEUE_BYTES // 2 // frame_bytes, networks.generator.batch_size
    batch_size = max(1, min(wanted, most))
    if options.wav2lip_batch_size and batch_size < wanted:
        print(f"--wav2lip_batch_size {wanted}: {batch_size}, since frames this large must not fill the memory")
    return batch_size
