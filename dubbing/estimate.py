"""How long a dub takes on this machine, and how much memory, from some of its frames timed stage by stage.

The stages of a dub overlap, but most of them use several cores: on a machine with FEW_CORES it takes about as long as
all of them one after the other, on one with many as long as the slowest.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dubbing.faces import FaceRegions
from dubbing.networks import Networks
from dubbing.options import Options
from dubbing.paste import FaceRegion
from dubbing.reading import FrameReader, Masks
from dubbing.record import StageTimer
from dubbing.refining import Refine
from dubbing.source import Source
from dubbing.speech import Speech
from dubbing.stages import Composite, Generate, SyncMonitor, composited, dub_stages, run_stages
from face_detection.find import KEY_STEP
from media.codecs import Encoding
from media.writer import VideoWriter

Result = TypeVar("Result")

FRAMES = 32  # that are timed
DETECTED = 1.3 / KEY_STEP  # share of the frames in which faces are looked for, mostly
FEW_CORES = 2
OVERHEAD = 150  # MiB, of the threads of a dub
MIB = 1 << 20


@dataclass(frozen=True)
class Estimate:
    """frames: of the dub; seconds: it takes, of which `faces` for looking for them, unless they are known; megabytes:
    of memory at most (MiB), None where the system does not tell; gpu_megabytes: likewise, None without a GPU."""

    frames: int
    seconds: float
    faces: float
    megabytes: int | None
    gpu_megabytes: int | None


def estimate(
    source: Source,
    speech: Speech,
    encoding: Encoding,
    networks: Networks,
    refine: Refine | None,
    region: FaceRegion,
    options: Options,
    suffix: str,
    decoding: float,
    detecting: float,
    starting: float,
) -> Estimate:
    """region: of a face of usual size, with which all frames are timed; suffix: of the file to write; decoding,
    detecting: seconds a frame; starting: seconds, for reading weights and speech."""
    hp, batch = networks.hp, networks.generator.batch_size
    shown = min(speech.seconds, options.preview or speech.seconds)
    frames = source.frames_in(shown, options.plays_whole)
    faces = FaceRegions([region], [False], None, False)
    masks = Masks(options.paste, hp.img_size, None)
    size = refine.refiner.size if refine else None
    reader = FrameReader(source, encoding.pix_fmt, shown, faces, speech, masks, size, hp, options)
    stages = dub_stages(Generate(networks.generator, speech.mel, hp.mel_window), refine, options.paste)

    reading, tasks = _timed(lambda: list(islice(reader.tasks(), min(FRAMES, frames))))
    count = len(tasks)
    run_stages(tasks[:batch], stages, StageTimer())  # the first batch takes longer
    batches = [tasks[first : first + batch] for first in range(0, count, batch)]
    generating, tasks = _timed(lambda: [task for part in batches for task in run_stages(part, stages, StageTimer())])
    scoring = 0.0
    if networks.expert:
        monitor = SyncMonitor(networks.expert, speech.mel)

        def score() -> None:
            for task in tasks:
                monitor.add(task.frame, composited(task.face) if task.face else None)

        scoring, _ = _timed(score)

    def write() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            VideoWriter(Path(folder) / f"timed{suffix}", source.rate, None, source.opened, encoding) as writer,
        ):
            for task in run_stages(tasks, {"composite": Composite(options.paste)}, StageTimer()):
                writer.write_picture(task.frame.picture, task.frame.time)

    writing, _ = _timed(write)
    dubbing = _together(reading, generating + scoring, writing) / count * frames
    looking = 0.0 if options.box else _together(decoding, detecting * DETECTED) * source.frames_once(shown)
    queued = 2 * batch * source.frame_bytes(encoding.pix_fmt) // MIB
    peak = peak_megabytes()
    memory = None if peak is None else peak + OVERHEAD + queued
    return Estimate(frames, starting + looking + dubbing, looking, memory, _gpu_megabytes(networks))


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _together(*stages: float) -> float:
    """What stages that overlap take."""
    return max(stages) + min(1.0, FEW_CORES / (os.cpu_count() or 1)) * (sum(stages) - max(stages))


def peak_megabytes() -> int | None:
    """The most memory, in MiB, that this process has had so far."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes, of what is counted in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // MIB


def _gpu_megabytes(networks: Networks) -> int | None:
    device = networks.generator.device
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_reserved(device) // MIB
