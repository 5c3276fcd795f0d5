"""All of preprocessing: videos to clips in worker processes, or existing clips, then report and lists of them."""

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import torch

from data import filelists
from data.clip import ClipRecord, read_record
from face_detection import build_detector, choose_detector
from hparams import HParams, hparams
from media.opening import videos_among
from preprocessing import PreprocessingOptions, data_report
from preprocessing.clip_maker import Job, start_worker, work
from preprocessing.survey import amount, clip_names_below, find_expert, judge_all, measure
from utils import distributed
from utils.devices import pick_device
from utils.errors import InputError
from utils.files import exclusive_lock, folders_below, read_json, writable_folder
from utils.process import stop_signals_held
from utils.progress import Progress


def preprocess(options: PreprocessingOptions) -> int:
    """Make the clips, the report and the lists; under torchrun this process's share of the clips. Returns the exit code
    of preprocess.py."""
    hp, root = hparams.override(options.hparams), options.preprocessed_root
    device = pick_device(distributed.init_processes(options.device))
    share = slice(distributed.rank(), None, distributed.world_size())
    writable_folder(options.filelists_dir, "--filelists_dir")
    jobs = [] if options.report_only else plan_jobs(options, hp)[share]
    clips = clip_names_below(root)[share] if options.report_only else [job.clip for job in jobs]
    with ExitStack() as held:
        with distributed.main_first():
            if distributed.is_main():
                held.enter_context(exclusive_lock(root, "--preprocessed_root"))
        expert = find_expert(options.syncnet_checkpoint_path, str(device))
        failed = {} if options.report_only else make_clips(jobs, options)
        bar = Progress(clips, "survey", unit="clip", disable=not distributed.is_main())
        records = [failed.get(clip) or measure(root / clip, clip, expert, hp) for clip in bar]
        everything = sorted(distributed.all_gather(records), key=lambda record: record.clip)
        code = report_on(everything, options, hp) if distributed.is_main() else 0
        distributed.destroy_processes()  # once all have come this far
    return code


def plan_jobs(options: PreprocessingOptions, hp: HParams) -> list[Job]:
    """One job per video."""
    detector = choose_detector(options.face_detector)  # "auto" resolved, for the clip's origin
    videos = find_videos(options.data_root, tell=True)
    return [Job(video, clip, detector, options, hp) for clip, video in videos.items()]


def find_videos(data_root: Path | None, tell: bool = False) -> dict[str, Path]:
    """All visible videos below the folder, also behind symbolic links, by the name of their clip. tell: print the names
    of files that may have been meant as videos."""
    if data_root is None or not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    videos = videos_among((path for folder in folders_below(data_root) for path in folder.iterdir()), tell)
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos found")
    return dict(zip(clip_names(videos, data_root), videos, strict=True))


def clip_names(videos: list[Path], data_root: Path) -> list[str]:
    """<group>/<clip> of every video; the group is its folder. No two names are equal, even if case is ignored, and no
    clip's name is the folder of another group: where the stem is taken, a clip has the video's whole name."""
    groups = []
    for video in videos:
        inner = video.parent.relative_to(data_root)
        groups.append(inner.as_posix() if inner.parts else data_root.resolve().name)
    taken = {folder.as_posix().casefold() for group in groups for folder in (Path(group), *Path(group).parents)}
    clips = []
    for video, group in zip(videos, groups, strict=True):
        names = chain((video.stem, video.name), (f"{video.name}_{n}" for n in count(2)))
        clip = next(clip for clip in (f"{group}/{name}" for name in names) if clip.casefold() not in taken)
        taken.add(clip.casefold())
        clips.append(clip)
    return clips


def make_clips(jobs: list[Job], options: PreprocessingOptions) -> dict[str, ClipRecord]:
    """Make the clips that are not finished. Returns the records of those that cannot be made, by name."""
    missing = [job for job in jobs if not job.is_finished()]
    detector = build_detector(options.face_detector)
    print(f"{len(jobs)} videos, {len(jobs) - len(missing)} finished before; faces by {detector.name}", flush=True)
    if not missing:
        return {}
    devices = worker_devices(options, detector.name == "S3FD")[: len(missing)]
    made = run_workers(missing, devices, options.face_detector)
    return {record.clip: record for record in made if not record.made}


def run_workers(jobs: list[Job], devices: list[str], detector: str) -> list[ClipRecord]:
    """The records of the jobs' clips, made in worker processes, one for each of the devices."""
    context = multiprocessing.get_context("spawn")
    with stop_signals_held():  # the resource tracker and the workers start here
        queue = context.Queue()
        for device in devices:
            queue.put(device)
        threads = max(1, cores() // len(devices))
        pool = ProcessPoolExecutor(len(devices), context, start_worker, (detector, queue, threads))
        made = as_completed([pool.submit(work, job) for job in jobs])
    try:
        bar = Progress(made, "clips", unit="clip", total=len(jobs), disable=not distributed.is_main())
        return [future.result() for future in bar]
    except BrokenProcessPool as error:
        raise InputError("a worker process died, most likely for lack of memory; use fewer --workers") from error
    except BaseException:  # a stop signal, or a worker that cannot start
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def worker_devices(options: PreprocessingOptions, on_gpu: bool) -> list[str]:
    """A device for every worker of this process: one worker per GPU if the detector can use it, else one per core.
    Processes that torchrun started on one machine share its devices."""
    here, place = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if on_gpu and options.device == "auto" else 0
    if gpus and here > 1:
        return [f"cuda:{place % gpus}"] * (options.workers or 1)
    if gpus:
        gpus = min(options.ngpu, gpus)
        return [f"cuda:{i % gpus}" for i in range(options.workers or gpus)]
    device = "cpu" if options.device == "auto" else options.device
    return [device] * (options.workers or (cores() if device == "cpu" else 1))


def cores() -> int:
    """This process's share of the machine's cores among the processes that torchrun started on it."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def report_on(records: list[ClipRecord], options: PreprocessingOptions, hp: HParams) -> int:
    """Judge the clips; write and print the records, report and lists. Returns the exit code: 0 if all can be used."""
    root = options.preprocessed_root
    judged, remarks = judge_all(records, hp)
    remarks = [amount(data_report.total(judged)["usable_minutes"])[1], *remarks]
    for record in judged:
        if record.made and read_record(root / record.clip) != record:
            record.write(root / record.clip)
    data_report.write(root, judged, remarks)
    print("\n".join([data_report.table(judged), *remarks, f"{root / 'report.html'}: look at it before training"]))
    usable = [record.clip for record in judged if record.usable]
    left_out = [record.clip for record in judged if not record.usable]
    if not usable:
        raise InputError(f"{root}: none of its {len(judged)} videos can be used; see the table")
    for sentence in filelists.update_lists(options.filelists_dir, root, usable, left_out):
        print(sentence)
    return 0 if not left_out else 1


@dataclass(frozen=True)
class Footage:
    """What preprocessing left, for finetune.py."""

    enough: bool  # whether there is enough to learn a person from
    amount: str  # the same as a sentence
    digest: str  # of what the listed clips are made from
    face: Path  # a video to dub: a held-out one
    speech: Path  # a video whose speech to dub it with: another held-out one if there are two


def summarize_footage(options: PreprocessingOptions) -> Footage:
    """What preprocessing with these options has left."""
    root, videos = options.preprocessed_root, find_videos(options.data_root)
    report_json = read_json(root / "report.json", "run preprocess.py --report_only")
    trained, held_out = (filelists.listed_clips(options.filelists_dir, split, root) for split in ("train", "eval"))
    origins = [(folder.name, read_record(folder).origin) for folder in (*trained, *held_out)]
    digest = hashlib.sha256(json.dumps(origins).encode()).hexdigest()
    clips = [folder.relative_to(root).as_posix() for folder in (*held_out, *trained)]
    sources = [videos[clip] for clip in clips if clip in videos]
    enough, sentence = amount(report_json["total"]["usable_minutes"])
    return Footage(enough, sentence, digest, sources[0], sources[min(1, len(sources) - 1)])
