"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

thread "prefetch"  read: decode, crop the face
main thread        generate: new mouths in batches, their colours matched; score lips against the speech
thread "sink"      paste: put the mouth into the picture; encode
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import audio as mels
from dubbing.faces import find_regions
from dubbing.jobs import output_path
from dubbing.networks import Networks, load_networks
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.options import Options
from dubbing.paste import FaceRegion, blend, crop_face, match_colours, paste_face
from dubbing.pipeline import BackgroundSink, prefetch
from dubbing.record import INTERPOLATED, UNCHANGED, ContactSheet, Progress, Record, StageTimer, StateLog
from dubbing.refining import bank_of_video, match_grain, sampled_faces
from dubbing.source import Source, TimedFrame
from dubbing.speech import load_speech
from dubbing.sync_monitor import SyncMonitor
from face_detection.crop import to_network_size
from face_detection.sparse import resembles
from media import codecs, yuv
from media.writer import VideoWriter
from utils.errors import InputError

OCCLUSION_REFERENCES = 48  # crops of all the video that explain what a face without an occluder looks like
QUEUE_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this


class Dubber:
    """Dubs with one set of options. networks: of another Dubber, used where they fit these options; else they are
    loaded."""

    def __init__(self, options: Options, networks: Networks | None = None) -> None:
        self.options = options
        self.networks = networks if networks and networks.fit(options) else load_networks(options)

    def dub(self, face: str | Path, audio: str | Path, outfile: str | Path, progress: Progress = tqdm) -> Record:
        """Write the dubbed video, <outfile>.json and what else the options ask for.

        face: a video or a picture; audio: any file with sound; outfile: a video, or a folder for it; progress: called
        like tqdm, for bars of another kind. Raises InputError for what cannot be used; no video is written then.
        """
        return _Dub(self.options, self.networks, Path(face), Path(audio), Path(outfile), progress).run()


class FrameTask(NamedTuple):
    """One output frame. face: the crop that the generator takes, uint8 [S, S, 3], where there is a region; sharp: the
    same at the refiner's size, where it is refined; visible: float32 [S, S], 0 where something covers the face, None
    where that is not asked; generated: the new face, as soon as there is one."""

    frame: TimedFrame
    region: FaceRegion | None
    state: str
    face: np.ndarray | None
    mel_start: int
    sharp: np.ndarray | None = None
    visible: np.ndarray | None = None
    generated: np.ndarray | None = None


class _Dub:
    """One run of Dubber.dub: what it reads, and its stages."""

    def __init__(
        self, options: Options, networks: Networks, face: Path, audio: Path, outfile: Path, progress: Progress
    ) -> None:
        self.options, self.networks, self.progress = options, networks, progress
        self.face, self.audio, self.outfile = face, audio, output_path(face, audio, outfile, options)
        self.timer, self.states = StageTimer(), StateLog()
        with self.timer("speech"):
            self.speech = load_speech(audio, options.audio_stream, options.silence == "rest", networks.hp)
            self.monitor = SyncMonitor(networks.expert, self.speech.mel) if networks.expert else None
        self.source = Source(face, options.transform, options.static, options.fps)
        self.encoding = codecs.choose(
            options.codec, self.outfile.suffix, self.source.pix_fmt, options.crf, options.preset
        )
        self.seconds = min(self.speech.seconds, options.preview or self.speech.seconds)
        device = networks.generator.precision.device
        with self.timer("faces"):
            self.faces = find_regions(self.source, self.encoding.pix_fmt, self.seconds, options, device, progress)
        self.refiner, self.bank, self.refined = networks.refiner, None, 0
        if self.refiner:
            with self.timer("references"):
                self.bank = self.refiner.bank or bank_of_video(
                    self.source, self.faces, self.encoding.pix_fmt, self.seconds, self.refiner
                )
        self.occlusion, self.occluded, self.turned = None, 0, 0
        if options.occlusion == "on":
            with self.timer("references"):
                size, count = networks.hp.img_size, OCCLUSION_REFERENCES
                crops = sampled_faces(self.source, self.faces, self.encoding.pix_fmt, self.seconds, size, count)
                self.occlusion = OcclusionDetector(crops)
        self.frames = self.source.frames_in(self.seconds, options.keep_length)
        self.sheet = ContactSheet(self.frames) if options.report else None

    def run(self) -> Record:
        options, source = self.options, self.source
        sound = options.audio_stream, options.preview
        writer = VideoWriter(self.outfile, source.rate, self.audio, source.reader, self.encoding, *sound)
        most = QUEUE_BYTES // 2 // source.frame_bytes(self.encoding.pix_fmt)
        wanted = self.networks.generator.batches.batch_size
        batch_size = max(1, min(wanted, most))
        if options.wav2lip_batch_size and batch_size < wanted:
            print(f"--wav2lip_batch_size {wanted}: {batch_size}, since frames this large must not fill the memory")
        queued = batch_size // 2 + 1  # before the generator, and behind it
        with self.timer("dub"):
            tasks = self.timer.each("read", self._read())
            with (
                writer,
                BackgroundSink[FrameTask](lambda task: self._finish(task, writer), queued) as sink,
                closing(prefetch(tasks, queued)) as waiting,
                closing(self._counted(waiting)) as shown,
            ):
                while batch := list(islice(shown, batch_size)):
                    for task in self._generate(batch):
                        sink.put(task)
        record = self._record()
        record.write()
        if self.sheet:
            self.sheet.write(Path(f"{self.outfile}.png"))
        return record

    def _counted(self, tasks: Iterable[FrameTask]) -> Generator[FrameTask, None, None]:
        """The tasks, shown by the progress bar, which ends when this is closed."""
        yield from self.progress(tasks, desc="dubbing", unit="frame", total=self.frames)

    def _read(self) -> Generator[FrameTask, None, None]:
        options, hp, speech = self.options, self.networks.hp, self.speech
        columns, upper_half, last_known = speech.mel.shape[1], slice(hp.img_size // 2), None
        whole = options.keep_length and not options.preview
        for frame in self.source.play(self.encoding.pix_fmt, self.seconds, options.extend, whole):
            region, state = self.faces.at(frame.number) if frame.time < speech.seconds else (None, UNCHANGED)
            face = crop_face(frame.picture, region, hp.img_size) if region else None
            if face is not None:
                known = state != INTERPOLATED or last_known is None or resembles(face[upper_half], last_known)
                if known:
                    last_known = face[upper_half]
                else:  # no missed face: something else is shown for a moment
                    region, state, face = None, UNCHANGED, None
            start = mels.dub_mel_start(frame.time, columns, hp, options.published_timing)
            sharp = None
            if self.refiner and region and region.rect.height > hp.img_size:  # a smaller one has nothing to gain
                sharp = crop_face(frame.picture, region, self.refiner.size)
            visible = self.occlusion.visible(face) if self.occlusion and face is not None else None
            yield FrameTask(frame, region, state, face, start, sharp, visible)
            if options.published_timing and mels.mel_column(frame.time, hp) + hp.mel_window > columns:
                return

    def _generate(self, tasks: list[FrameTask]) -> Generator[FrameTask, None, None]:
        """The tasks with their generated faces, where there is a face."""
        networks, style = self.networks, self.options.paste
        with_face = [(n, task.face, task.mel_start) for n, task in enumerate(tasks) if task.face is not None]
        generated: dict[int, np.ndarray] = {}
        blended: dict[int, np.ndarray] = {}
        if with_face:
            with self.timer("generate"):
                numbers, faces, starts = zip(*with_face, strict=True)
                shown, window = np.stack(faces), networks.hp.mel_window
                windows = np.stack([self.speech.mel[None, :, start : start + window] for start in starts])
                try:
                    new = networks.generator(shown, windows)
                except torch.OutOfMemoryError as error:
                    raise InputError("--device: has too little memory for one frame; use --device cpu") from error
            refined = self._refine([tasks[number] for number in numbers], new, shown)
            if style == "soft":
                with self.timer("generate"):
                    new = match_colours(new, shown)
            generated = {number: refined.get(row, new[row]) for row, number in enumerate(numbers)}
            small = np.stack([to_network_size(face, networks.hp.img_size) for face in generated.values()])
            blended = dict(zip(numbers, blend(small, shown, style), strict=True))
        for number, task in enumerate(tasks):
            if self.monitor:
                with self.timer("score"):
                    self.monitor.add(task.frame, blended.get(number))
            yield task._replace(generated=generated.get(number))

    def _refine(self, tasks: list[FrameTask], generated: np.ndarray, shown: np.ndarray) -> dict[int, np.ndarray]:
        """By row the refined faces of those that are to be, in the colours and with the grain of the frames."""
        own = {row: task.sharp for row, task in enumerate(tasks) if task.sharp is not None}
        if self.refiner is None or self.bank is None or not own:
            return {}
        rows, sharp = list(own), np.stack(list(own.values()))
        self.refined += len(rows)
        with self.timer("refine"):
            faces = self.refiner(generated[rows], sharp, self.bank)
            if self.options.paste == "soft":
                faces = match_colours(faces, shown[rows])
            numbers = (tasks[row].frame.number for row in rows)
            return dict(zip(rows, map(match_grain, faces, sharp, numbers), strict=True))

    def _finish(self, task: FrameTask, writer: VideoWriter) -> None:
        """Paste, encode, note; in the order of the frames."""
        picture, time = task.frame.picture, task.frame.time
        sampled = self.sheet is not None and sum(self.states.counts.values()) in self.sheet.wanted
        before = yuv.to_bgr(picture) if sampled else None
        if task.region is not None and task.generated is not None:
            with self.timer("paste"):
                paste_face(picture, task.region, task.generated, self.options.paste, task.visible)
            self.occluded += task.visible is not None and hidden_share(task.visible) >= OCCLUDED
            self.turned += task.region.weight < 1
        if self.sheet is not None and before is not None and task.region is not None:
            self.sheet.add(before, yuv.to_bgr(picture), task.region.rect)
        with self.timer("encode"):
            writer.write_picture(picture, time)
        self.states.add(task.state, time, 1 / float(self.source.rate))

    def _refiner_record(self) -> dict[str, Any] | None:
        if self.refiner is None:
            return None
        bank = "person" if self.refiner.bank else "video"
        return {"file": str(self.refiner.path), "size": self.refiner.size, "references": bank, "frames": self.refined}

    def _record(self) -> Record:
        options, networks, precision = self.options, self.networks, self.networks.generator.precision
        return Record(
            face=str(self.face),
            audio=str(self.audio),
            outfile=str(self.outfile),
            generator={"file": str(networks.path), "sha256": networks.sha256},
            refiner=self._refiner_record(),
            precision=precision.name,
            device=str(precision.device),
            timing="published" if options.published_timing else "training",
            paste=options.paste,
            silence=options.silence,
            silent_share=round(self.speech.silent, 3),
            extend=options.extend,
            encoder=self.encoding.encoder,
            options=self.encoding.options,
            speech_seconds=round(self.speech.seconds, 3),
            preview_seconds=options.preview,
            frames=sum(self.states.counts.values()),
            **self.states.counts,
            occluded=self.occluded,
            turned=self.turned,
            ranges=self.states.ranges(),
            faces={"detector": self.faces.detector, "cached": self.faces.cached},
            damaged_packets=self.source.reader.damaged_packets if self.source.reader else 0,
            batch_halved=networks.generator.batches.halved,
            sync=self.monitor.result() if self.monitor else None,
            busy=self.timer.rounded(),
        )
