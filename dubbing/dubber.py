"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

a thread       read: decode, crop the face, its mask (dubbing/plan.py)
another one    generate, refine, match in batches (dubbing/stages.py); score lips against the speech
main thread    composite: put the face into the picture; encode
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from dubbing.jobs import output_path
from dubbing.networks import Networks, load_networks
from dubbing.options import Options
from dubbing.plan import DubPlan
from dubbing.record import ProgressBar, Record, StageTimer, StateLog, page_path, record_path
from dubbing.report import DubReport
from dubbing.stages import FrameTask, SyncMonitor, composited, prefetch, run_stages
from media import yuv
from media.clock import Span
from media.writer import VideoWriter
from utils.errors import InputError
from utils.files import atomic_writes, sha256, write_json
from utils.progress import Progress


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
            plan = DubPlan.open(face, audio, outfile.suffix, options, self.networks)
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
    batch_size, expert = plan.batch_size(), plan.networks.expert
    queued = batch_size // 2 + 1  # before the stages, and behind them
    with timer("score"):
        monitor = SyncMonitor(expert, plan.speech.mel) if expert else None

    def generated() -> Generator[FrameTask, None, None]:
        with closing(prefetch(plan.tasks(), queued, partial(timer, "read"))) as tasks:
            while batch := list(islice(tasks, batch_size)):
                for task in run_stages(batch, plan.stages, timer):
                    if monitor:
                        with timer("score"):
                            monitor.add(task.frame, composited(task.face) if task.face else None)
                    yield task

    def counted(tasks: Iterable[FrameTask]) -> Generator[FrameTask, None, None]:
        """The tasks, shown by the progress bar, which ends when this is closed."""
        yield from progress(tasks, desc="dubbing", unit="frame", total=plan.frames)

    writer, states = _writer(plan, outfile, video), StateLog()
    with timer("dub"), writer, closing(prefetch(generated(), queued)) as waiting, closing(counted(waiting)) as tasks:
        for task in tasks:
            picture, time = task.frame.picture, task.frame.time
            before = yuv.to_bgr(picture) if report and report.note(task) else None
            run_stages([task], {"composite": plan.composite}, timer)
            if report and before is not None and task.face:
                report.add(time, before, yuv.to_bgr(picture), task.face.region.rect)
            with timer("encode"):
                writer.write_picture(picture, time)
            states.add(task.state, time, 1 / float(writer.rate))
    return states.record() | {"sync": monitor.result() if monitor else None}


def _writer(plan: DubPlan, outfile: Path, video: Path) -> VideoWriter:
    source, options = plan.source, plan.options
    sound, track, until = plan.speech.path, options.audio_stream, options.preview or inf
    if options.final_audio:
        sound, track, until = options.final_audio, None, plan.shown_seconds
    first, last = source.part or (0.0, inf)
    shown = Span(first, min(last, first + plan.shown_seconds))
    return VideoWriter(
        outfile, source.rate, sound, source.opened, plan.encoding, track, until, dubbed=True, part=video, shown=shown
    )
