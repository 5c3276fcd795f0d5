"""Opens the clips of the file lists, and loads batches of their windows for training and evaluation."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from multiprocessing.queues import Queue
from multiprocessing.util import get_temp_dir
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from data.clip import Clip
from data.dataset import Windows
from data.filelists import listed_clips, person_of
from data.sampling import SINGLE_SEED, Key, StepSampler
from hparams import HParams
from utils import distributed
from utils.errors import InputError
from utils.process import STOP_SIGNALS, stop_signals_held
from utils.progress import Progress

PREFETCHED = 4  # batches, by each worker
WORKER_GONE = (EOFError, ConnectionResetError, ConnectionRefusedError)  # in place of its batch


def open_clips(data_root: Path, split: str, filelists_dir: Path, hp: HParams) -> list[Clip]:
    """The clips of one list ("train" or "eval"); missing caches are made. A clip that is listed several times, and so
    counts more, is opened once."""
    listed = listed_clips(filelists_dir, split, data_root)
    folders = list(dict.fromkeys(listed))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        opened = pool.map(lambda folder: Clip(folder, hp, person_of(folder, data_root)), folders)
        clips = Progress(opened, f"{split} clips", unit="clip", total=len(folders), leave=False)
        by_folder = dict(zip(folders, clips, strict=True))
    return [by_folder[folder] for folder in listed]


def open_windows(
    training: type[Windows], evaluation: type[Windows], data_root: Path, filelists_dir: Path, hp: HParams
) -> tuple[Windows, Windows]:
    """Training and evaluation windows of these classes; prints their numbers. Raises InputError if there are none."""
    opened: list[Windows] = []
    for split, kind in (("train", training), ("eval", evaluation)):
        with distributed.main_first():
            clips = open_clips(data_root, split, filelists_dir, hp)
        windows = kind(clips, hp, training=split == "train")
        print(f"{split}: {len(clips)} clips, {len(windows)} windows", flush=True)
        if not len(windows):
            raise InputError(
                f"{data_root}: the {len(clips)} clips of the {split} list have no {hp.window_frames} frames in a row "
                "with sound; add longer videos"
            )
        opened.append(windows)
    return opened[0], opened[1]


def training_loader(windows: Windows, step_size: int, first_step: int) -> DataLoader:
    """Endless batches from step `first_step` on. A step has `step_size` windows; each process gets its share of them in
    hp.accumulate batches."""
    hp, world, workers = windows.hp, distributed.world_size(), windows.hp.num_workers
    plan = windows.plan(step_size)
    for setting, size in ((windows.batch_setting, plan.windows), ("single_frames", plan.frames)):
        if size % (world * hp.accumulate):
            shares = f"{world * hp.accumulate} ({world} processes, accumulate={hp.accumulate})"
            raise InputError(f"--hparams {setting}={size}: is not a multiple of {shares}")
    sampler = StepSampler(
        plan, windows.index_sampler(hp.seed), windows.index_sampler(hp.seed + SINGLE_SEED), first_step, hp.accumulate,
        distributed.rank(), world,
    )  # fmt: skip
    return DataLoader(
        windows,
        batch_sampler=sampler,
        collate_fn=windows.collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCHED if workers else None,
        multiprocessing_context="spawn" if workers else None,  # the same on every system; fork and threads do not mix
        worker_init_fn=_leave_process_group,
    )


@contextmanager
def started(loader: DataLoader) -> Iterator[Iterator[dict]]:
    """Within the block, the loader's batches; its worker processes end with the block at once."""
    before = multiprocessing.active_children()
    if loader.num_workers:
        get_temp_dir()  # which workers then use too: a worker that is killed leaves no folder of its own
    with stop_signals_held():  # until _leave_process_group runs in the workers
        batches = iter(loader)
    workers = [process for process in multiprocessing.active_children() if process not in before]
    try:
        yield batches
    except (RuntimeError, *WORKER_GONE) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        reason = "a loader process died, most likely for lack of memory, or of shared memory (/dev/shm)"
        raise InputError(f"{reason}; use fewer --num_workers, or 0") from error
    except (InputError, OSError) as error:
        if not str(error).startswith("Caught "):
            raise
        said = str(error).strip().splitlines()[-1]  # a worker's error, after its traceback
        raise InputError(said.partition(": ")[2]) from error
    finally:  # a worker that is still starting would only print a traceback later
        child_ends = getattr(signal, "SIGCHLD", None)
        handler = signal.signal(child_ends, signal.SIG_DFL) if child_ends else None  # PyTorch's would raise
        for process in workers:
            process.kill()
        for process in workers:
            process.join()
        if child_ends:
            signal.signal(child_ends, handler)


def steps_ahead(hp: HParams) -> int:
    """How many steps ahead of the training batches are drawn at most, counting the one being trained on."""
    return ceil((PREFETCHED * hp.num_workers + 1) / hp.accumulate)


def _leave_process_group(worker: int) -> None:
    """Leave the process group: Ctrl-C and SIGTERM to the group are for the main process, which needs its workers until
    its step is finished. SIGTERM to a worker alone ends it; PyTorch ends workers whose main process is gone."""
    setattr(Queue, "_on_queue_feeder_error", lambda *_: os._exit(1))  # noqa: B010 (else a lost batch is waited for)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # forgets those that wait
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def evaluation_batches(windows: Windows, batch_size: int) -> list[dict]:
    """The same windows every time: at most hp.eval_windows, evenly spaced."""
    count = min(len(windows), windows.hp.eval_windows)
    keys = [Key(i, i * len(windows) // count, windows.hp.window_frames) for i in range(count)]
    return list(DataLoader(windows, batch_size, sampler=keys, collate_fn=windows.collate))
