"""Preprocessed clips -> training windows and batches of them.

A window is five consecutive frames and the mel around them. Pictures leave here as uint8 and become floats on the
training device (expert_inputs, generator_inputs). What is drawn at random for a window follows from the seed and the
window's place in the training run alone, so runs can be repeated and resumed with any number of loader processes.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

import audio
from data.augment import augment
from data.clip import Clip
from data.filelists import listed_clips
from hparams import HParams
from models.inputs import generator_faces, lower_half
from utils import distributed
from utils.errors import InputError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def open_clips(data_root: Path, split: str, filelists_dir: Path, hp: HParams) -> list[Clip]:
    """The clips of one list ("train" or "eval"), their caches made where they are missing. A clip that is listed
    several times, and so counts more, is opened once."""
    listed = listed_clips(filelists_dir, split, data_root)
    folders = list(dict.fromkeys(listed))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        opened = pool.map(lambda folder: Clip(folder, hp), folders)
        clips = tqdm(opened, total=len(folders), desc=f"{split} clips", unit="clip", leave=False)
        by_folder = dict(zip(folders, clips, strict=True))
    return [by_folder[folder] for folder in listed]


class Windows(Dataset):
    """All windows of some clips. An item is asked for by (place in the run, window number)."""

    per_frame_mels = False
    batch_setting = "batch_size"  # in hparams

    def __init__(self, clips: list[Clip], hp: HParams, training: bool = False) -> None:
        self.hp, self.training = hp, training
        self.clips: list[Clip] = []
        self.rows: list[np.ndarray] = []  # of each clip, where its windows start
        for clip in clips:
            starts = clip.window_rows(hp, self.per_frame_mels)
            if len(starts) > 1:  # one for the window, one for its reference or its off-sync sound
                self.clips.append(clip)
                self.rows.append(starts)
        self.ends = np.cumsum([len(starts) for starts in self.rows], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def _draw(self, place: int, number: int) -> tuple[Clip, int, int, np.random.Generator]:
        """The window's clip and row, the row of another window of the clip, and the random generator for the rest."""
        k = int(np.searchsorted(self.ends, number, side="right"))
        starts = self.rows[k]
        i = number - (int(self.ends[k]) - len(starts))
        rng = np.random.default_rng((self.hp.seed, place))
        other = (i + int(rng.integers(1, len(starts)))) % len(starts)
        return self.clips[k], int(starts[i]), int(starts[other]), rng

    def _frames(self, clip: Clip, rows: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """The frames of the windows that start at these rows, all augmented alike: uint8 [windows, 5, 96, 96, 3]."""
        T = self.hp.window_frames
        frames = np.concatenate([clip.faces[row : row + T] for row in rows])
        if self.training and self.hp.augment:
            frames = augment(frames, rng)
        return frames.reshape(len(rows), T, *frames.shape[1:])


class ExpertWindows(Windows):
    """Items: faces uint8 [5, 48, 96, 3] lower halves; mel float32 [1, 80, 16]; in_sync float 0 or 1, half and half, or
    in training with hp.syncnet_all_pairs always 1."""

    batch_setting = "syncnet_batch_size"

    def __getitem__(self, key: tuple[int, int]) -> dict:
        clip, row, other, rng = self._draw(*key)
        in_sync = (self.training and self.hp.syncnet_all_pairs) or bool(rng.integers(2))
        start = audio.window_mel_start(int(clip.times[row if in_sync else other]), self.hp)
        faces = lower_half(self._frames(clip, (row,), rng)[0], height_axis=-3)
        return {"faces": faces, "mel": clip.mel_window(start, self.hp), "in_sync": np.float32(in_sync)}


class GeneratorWindows(Windows):
    """Items: target and reference uint8 [5, 96, 96, 3]; mels float32 [5, 1, 80, 16], one per frame; mel [1, 80, 16],
    the window's own, for the expert."""

    per_frame_mels = True

    def __getitem__(self, key: tuple[int, int]) -> dict:
        clip, row, other, rng = self._draw(*key)
        frame = int(clip.times[row])
        mels = [clip.mel_window(start, self.hp) for start in audio.frame_mel_starts(frame, self.hp)]
        target, reference = self._frames(clip, (row, other), rng)
        return {
            "target": target,
            "reference": reference,
            "mels": np.stack(mels),
            "mel": clip.mel_window(audio.window_mel_start(frame, self.hp), self.hp),
        }


class EndlessShuffle(Sampler):
    """(place, window) from step `start` on; every epoch holds each window once, in an order of its own.

    Each step's `batch` places are shared among the processes: process `rank` of `world` has a `world`-th of them.
    """

    def __init__(self, windows: int, seed: int, batch: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.windows, self.seed, self.batch, self.start = windows, seed, batch, start
        self.rank, self.share = rank, batch // world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        place = self.start * self.batch
        while True:
            epoch, skip = divmod(place, self.windows)
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            for number in torch.randperm(self.windows, generator=generator)[skip:].tolist():
                if place % self.batch // self.share == self.rank:
                    yield place, number
                place += 1


def open_windows(kind: type[Windows], data_root: Path, filelists_dir: Path, hp: HParams) -> tuple[Windows, Windows]:
    """Training and evaluation windows of one kind; says how many there are. None at all raises InputError."""
    opened: list[Windows] = []
    for split in ("train", "eval"):
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


def training_batches(windows: Windows, step_size: int, first_step: int) -> Iterator[dict]:
    """Batches without end, from the first that step `first_step` trains on: `step_size` windows make a step, of which
    each process gets its share, in hp.accumulate batches."""
    hp, world, workers = windows.hp, distributed.world_size(), windows.hp.num_workers
    if step_size % (world * hp.accumulate):
        raise InputError(
            f"--hparams {windows.batch_setting}={step_size}: is not a multiple of {world * hp.accumulate} "
            f"({world} processes, accumulate={hp.accumulate})"
        )
    batch = step_size // hp.accumulate
    loader = DataLoader(
        windows,
        batch // world,
        sampler=EndlessShuffle(len(windows), hp.seed, batch, first_step * hp.accumulate, distributed.rank(), world),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,  # the same on every system; fork and threads do not mix
        worker_init_fn=_ignore_stop_signals,
    )
    with _stop_signals_ignored():  # loader processes inherit this till _ignore_stop_signals runs in them
        return iter(loader)


def _ignore_stop_signals(worker: int) -> None:
    """A signal to the whole process group ends the main process, which needs its loaders for the step that it is in."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _stop_signals_ignored() -> Iterator[None]:
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def evaluation_batches(windows: Windows, batch_size: int) -> list[dict]:
    """The same windows every time: at most hp.eval_windows, evenly spaced."""
    count = min(len(windows), windows.hp.eval_windows)
    keys = [(i, i * len(windows) // count) for i in range(count)]
    return list(DataLoader(windows, batch_size, sampler=keys))


def expert_inputs(batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """mel [B, 1, 80, 16] and faces [B, 15, 48, 96] in 0..1, from an ExpertWindows batch on the training device."""
    B, T, H, W, C = batch["faces"].shape
    faces = batch["faces"].permute(0, 1, 4, 2, 3).reshape(B, T * C, H, W)
    return batch["mel"], faces.float() / 255


def generator_inputs(batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """faces [B, 6, T, 96, 96], the frame with its lower half zeroed and the reference, and target [B, 3, T, 96, 96],
    all in 0..1, from a GeneratorWindows batch on the training device."""
    target, reference = (batch[name].permute(0, 4, 1, 2, 3).float() / 255 for name in ("target", "reference"))
    return generator_faces(target, reference), target
