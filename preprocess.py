"""Raw videos -> face crops at 25 fps, sound at 16 kHz, file lists, and a report.

    python preprocess.py --data_root my_videos --preprocessed_root preprocessed
    python preprocess.py --data_root my_videos --preprocessed_root preprocessed --ngpu 2 --face_detector sfd
    torchrun --nproc_per_node 2 preprocess.py --data_root my_videos --preprocessed_root preprocessed

Any tree of videos will do. The folder a video lies in is its group; each becomes

    preprocessed/<group>/<clip>/0.jpg, 1.jpg, ...   the face in every frame that has one, 25 a second
                                audio.wav           16 kHz mono, from the time of frame 0 to the end of the last
                                clip.json           where it came from and what was found

A clip that is finished is not done again unless its video or the settings have changed. Exit code 0: all videos were
made into clips; 1: some were skipped (the report says why); 2: nothing usable. Look at preprocessed/report.html before
training. Under torchrun the videos are shared among the processes, on one machine or on several with a shared folder.
"""

import argparse
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

import cli
import distributed
import survey
from cli import InputError
from clip_cache import record_in
from clip_maker import ClipMaker, Job
from devices import pick_device
from face_detection import build_detector
from hparams import HParams, hparams

VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".vob",
}  # fmt: skip


def find_videos(data_root: Path) -> list[Path]:
    """All videos below the folder but hidden ones, such as the ._x.mp4 that macOS leaves on other disks."""
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    videos = sorted(
        path for path in data_root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )  # fmt: skip
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos there ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return videos


def plan(args: argparse.Namespace, hp: HParams) -> list[Job]:
    """One job per video. Of two videos with one stem in a folder, the later by name keeps its suffix."""
    jobs, taken = [], set()
    for video in find_videos(args.data_root):
        inner = video.parent.relative_to(args.data_root).as_posix()
        group = args.data_root.resolve().name if inner == "." else inner
        clip = f"{group}/{video.stem}"
        if clip in taken:
            clip = f"{group}/{video.name}"
        taken.add(clip)
        folder = args.preprocessed_root / clip
        jobs.append(Job(video, clip, folder, args.face_detector, args.batch_size, hp))
    return jobs


def finished(job: Job) -> dict | None:
    """The record of a clip that is there and made from what its job says, else None."""
    record = record_in(job.folder)
    return record if record.get("origin") == job.origin() else None


def make_all(jobs: list[Job], devices: list[str], detector: str) -> Iterator[dict]:
    """Records as the clips are finished, in worker processes, one per entry of devices."""
    context = multiprocessing.get_context("spawn")
    counter, stop, queue = context.Value("q", 0), context.Event(), context.Queue()
    for device in devices:
        queue.put(device)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    bar = tqdm(total=len(jobs), unit="clip", smoothing=0.05, disable=not distributed.is_main())
    pool = ProcessPoolExecutor(len(devices), context, _start_worker, (detector, queue, threads, counter, stop))
    try:
        waiting = {pool.submit(_work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            bar.set_postfix_str(f"{counter.value} frames, each twice", refresh=False)
            bar.update(len(done))
    except BrokenProcessPool as error:
        raise InputError("a worker process died, most likely for lack of memory; use fewer --workers") from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()


_maker: ClipMaker | None = None  # one per worker process: a pool hands its functions nothing else to keep state in


def _start_worker(detector: str, devices, threads: int, counter, stop) -> None:
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process hears Ctrl-C and sets `stop`
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _maker = ClipMaker(detector, devices.get(), threads, counter, stop)


def _work(job: Job) -> dict:
    return _maker.make_clip(job)


def worker_devices(args: argparse.Namespace, on_gpu: bool) -> list[str]:
    """A device for every worker of this process: one worker per GPU where the detector can use it, else one per core.
    Processes that torchrun started on one machine share its devices."""
    here, place = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if on_gpu and args.device == "auto" else 0
    if gpus and here > 1:
        return [f"cuda:{place % gpus}"] * (args.workers or 1)
    if gpus:
        gpus = min(args.ngpu, gpus)
        return [f"cuda:{i % gpus}" for i in range(args.workers or gpus)]
    device = "cpu" if args.device == "auto" else args.device
    cores = max(1, (os.cpu_count() or 1) // here)
    return [device] * (args.workers or (cores if device == "cpu" else 1))


def make_clips(jobs: list[Job], args: argparse.Namespace) -> list[dict]:
    """The records of the jobs' clips; those that are finished already are not made again."""
    records, open_jobs = [], []
    for job in jobs:
        record = finished(job)
        records.append(record) if record else open_jobs.append(job)
    detector = build_detector(args.face_detector)
    print(f"{len(jobs)} videos, {len(records)} finished before; faces by {detector.name}", flush=True)
    devices = worker_devices(args, detector.name == "S3FD")[: len(open_jobs)]
    return [*records, *(make_all(open_jobs, devices, args.face_detector) if open_jobs else ())]


def main(args: argparse.Namespace) -> int:
    hp = hparams.override(args.hparams)
    device = pick_device(distributed.join(args.device))
    jobs = plan(args, hp)[distributed.rank() :: distributed.world()]
    cli.writable_folder(args.preprocessed_root, "--preprocessed_root")
    cli.writable_folder(args.filelists_dir, "--filelists_dir")
    expert = survey.load_expert(args.syncnet_checkpoint_path, device)
    records = make_clips(jobs, args)
    code = survey.report_on(records, args.preprocessed_root, args.filelists_dir, expert, hp, device)
    distributed.leave()
    return code


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", type=Path, required=True, help="folder of videos, flat or nested")
    parser.add_argument("--preprocessed_root", type=Path, required=True, help="where the clips go")
    parser.add_argument("--ngpu", type=int, default=1, help="GPUs to use, where there are any")
    parser.add_argument("--workers", type=int, help="processes (default: one per GPU, without any one per core)")
    parser.add_argument("--batch_size", type=int, default=32, help="frames detected at once")
    survey.add_flags(parser)
    parser.add_argument("--face_detector", choices=("auto", "sfd", "retinaface"), default="auto")
    cli.add_common_flags(parser)
    args = parser.parse_args(argv)
    if min(args.ngpu, args.batch_size, args.workers or 1) < 1:
        parser.error("--ngpu, --workers and --batch_size: give at least 1")
    return args


if __name__ == "__main__":
    cli.run(main, parse_args())
