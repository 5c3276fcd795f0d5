"""Preprocessed clips -> training items: windows of consecutive frames with their sound, and single frames.

Pictures leave here as uint8 and become floats on the training device (expert_inputs, generator_inputs).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

import audio
from data.augment import augment_pictures, perturb_mel
from data.clip import Clip
from data.sampling import OF_WINDOW, UNKNOWN, Key, PersonSampler, ShuffleSampler, StepPlan, parse_weights
from face_detection.crop import mouth_region
from hparams import HParams
from models.wav2lip import generator_faces, to_floats
from utils.errors import InputError
from utils.images import lower_half

HARD_PAIRS = 4  # of target and reference, of which the one with the most different mouths is chosen


def concatenated(items: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """One batch of items, concatenated along the first axis of each array."""
    return {name: torch.from_numpy(np.concatenate([item[name] for item in items])) for name in items[0]}


class Sample(NamedTuple):
    """A window that was drawn."""

    clip: Clip
    starts: np.ndarray  # rows at which the clip's windows start
    row: int  # at which this one starts
    other: int  # at which another one starts
    rng: np.random.Generator  # for all further choices


class Windows(Dataset):
    """All windows of some clips. An item is asked for by a Key."""

    per_frame_mels = False
    batch_setting = "batch_size"  # in hparams
    single_clip_weight = 1.0  # of a person with a single clip, if people are drawn
    needed = 2  # windows of a clip: one for the item, one for its reference or its off-sync sound
    collate: Callable[[list], dict] = staticmethod(default_collate)

    def __init__(self, clips: list[Clip], hp: HParams, training: bool = False) -> None:
        self.hp, self.training = hp, training
        self.augmented = training and hp.augment
        rows = [clip.window_rows(hp, self.per_frame_mels) for clip in clips]
        self.clips = [clip for clip, starts in zip(clips, rows, strict=True) if len(starts) >= self.needed]
        self.rows = [starts for starts in rows if len(starts) >= self.needed]  # of each clip, where its windows start
        self.ends = np.cumsum([len(starts) for starts in self.rows], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def plan(self, step_size: int) -> StepPlan:
        """What a step of `step_size` windows draws."""
        return StepPlan(step_size, self.hp.window_frames)

    def index_sampler(self, seed: int) -> ShuffleSampler | PersonSampler:
        """Draws windows in training, as hp.sampling says."""
        if self.hp.sampling == "windows":
            return ShuffleSampler(len(self), seed)
        persons = [clip.person for clip in self.clips]
        weights = {person: self.single_clip_weight for person, clips in Counter(persons).items() if clips == 1}
        weights |= parse_weights(self.hp.people_weights, persons)
        return PersonSampler(persons, [len(starts) for starts in self.rows], weights, seed)

    def _sample(self, key: Key) -> Sample:
        k = int(np.searchsorted(self.ends, key.window, side="right"))
        starts = self.rows[k]
        i = key.window - (int(self.ends[k]) - len(starts))
        rng = np.random.default_rng((self.hp.seed, key.sample_index, OF_WINDOW))
        return Sample(self.clips[k], starts, int(starts[i]), int(starts[_another(i, len(starts), rng)]), rng)

    def _frames(self, clip: Clip, rows: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` frames from each of these rows on, all augmented alike: uint8 [rows, count, 96, 96, 3]."""
        frames = np.concatenate([clip.faces[row : row + count] for row in rows])
        if self.augmented:
            frames = augment_pictures(frames, self.hp, rng)
        return frames.reshape(len(rows), count, *frames.shape[1:])

    def _sound(self, mels: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Mels [1, num_mels, mel_window] in one array, all augmented alike."""
        stacked = np.stack(mels)
        if self.augmented and self.hp.augment_sound:
            return perturb_mel(stacked, rng, self.hp.augment_sound, self.hp.max_abs_value)
        return stacked


class ExpertWindows(Windows):
    """Items: faces uint8 [1, 5, 48, 96, 3] lower halves; mel float32 [1, 1, 80, 16]; in_sync float [1], 0 or 1, half
    and half."""

    batch_setting = "syncnet_batch_size"
    single_clip_weight = 0.3
    collate = staticmethod(concatenated)

    def __getitem__(self, key: Key) -> dict:
        sample = self._sample(key)
        in_sync = bool(sample.rng.integers(2))
        sound = sample.row if in_sync else sample.other
        return self._pairs(sample, [sample.row], [sound]) | {"in_sync": np.array([in_sync], np.float32)}

    def _pairs(self, sample: Sample, rows: list[int], sounds: list[int]) -> dict:
        """Faces of the clip's windows at `rows`, each with the sound of the window at the same place of `sounds`."""
        clip, rng = sample.clip, sample.rng
        faces = lower_half(self._frames(clip, rows, self.hp.window_frames, rng), height_axis=-3)
        starts = [audio.window_mel_start(int(clip.times[row]), self.hp) for row in sounds]
        mel = self._sound([clip.mel_window(start, self.hp) for start in starts], rng)
        return {"faces": faces, "mel": mel}


class ExpertClips(ExpertWindows):
    """Items: hp.syncnet_clip_windows windows of one clip, spread over it, each with its own sound; arrays as in
    ExpertWindows, in_sync 1 throughout."""

    def __init__(self, clips: list[Clip], hp: HParams, training: bool = False) -> None:
        self.needed = hp.syncnet_clip_windows
        super().__init__(clips, hp, training)

    def plan(self, step_size: int) -> StepPlan:
        windows = self.hp.syncnet_clip_windows
        if step_size % windows:
            raise InputError(
                f"--hparams {self.batch_setting}={step_size}: is not a multiple of {windows} (windows a clip)"
            )
        return StepPlan(step_size // windows, windows * self.hp.window_frames)

    def __getitem__(self, key: Key) -> dict:
        sample = self._sample(key)
        parts = np.array_split(sample.starts, self.hp.syncnet_clip_windows)
        rows = [int(sample.rng.choice(part)) for part in parts]
        return self._pairs(sample, rows, rows) | {"in_sync": np.ones(len(rows), np.float32)}


class GeneratorWindows(Windows):
    """Items of F frames, 5 or 1: target and reference uint8 [F, 96, 96, 3]; mels float32 [F, 1, 80, 16], one per
    frame; mel [1, 1, 80, 16], the window's own, for the expert, or [0, 1, 80, 16] for a single frame."""

    per_frame_mels = True
    collate = staticmethod(concatenated)

    def plan(self, step_size: int) -> StepPlan:
        first = self.hp.frames_first
        known = UNKNOWN if 0 < first < 1 else int(first)  # a share of a run is known only when it is over
        return StepPlan(step_size, self.hp.window_frames, self.hp.single_frames, known)

    def __getitem__(self, key: Key) -> dict:
        sample = self._sample(key)
        clip, row, other, rng = sample.clip, sample.row, sample.other, sample.rng
        if self.training and self.hp.other_mouth and rng.random() < self.hp.other_mouth:
            row, other = _most_different(sample)
        time = int(clip.times[row])
        starts = [*audio.frame_mel_starts(time, self.hp)[: key.frames], audio.window_mel_start(time, self.hp)]
        mels = self._sound([clip.mel_window(start, self.hp) for start in starts], rng)
        target, reference = self._frames(clip, (row, other), key.frames, rng)
        whole_window = key.frames == self.hp.window_frames
        return {
            "target": target,
            "reference": reference,
            "mels": mels[: key.frames],
            "mel": mels[key.frames :] if whole_window else mels[:0],
        }


def _another(i: int, count: int, rng: np.random.Generator) -> int:
    """A random number below `count` other than i."""
    return (i + int(rng.integers(1, count))) % count


def _most_different(sample: Sample) -> tuple[int, int]:
    """This pair of rows or a random other one of the clip, whichever has the most different mouths: copying the
    reference never pays there."""
    starts, rng = sample.starts, sample.rng
    pairs = [(sample.row, sample.other)]
    for i in rng.integers(0, len(starts), HARD_PAIRS - 1):
        pairs.append((int(starts[i]), int(starts[_another(int(i), len(starts), rng)])))
    return max(pairs, key=lambda pair: _mouth_difference(sample.clip.faces, *pair))


def _mouth_difference(faces: np.ndarray, a: int, b: int) -> float:
    """Mean absolute difference of every other pixel of the mouth's rectangle, in levels."""
    first, second = mouth_region(np.stack((faces[a], faces[b])))[:, ::2, ::2].astype(np.int16)
    return float(np.abs(first - second).mean())


def expert_inputs(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """mel [B, 1, 80, 16] and faces [B, 15, 48, 96] in 0..1, from an ExpertWindows batch on the training device."""
    return batch["mel"], to_floats(batch["faces"]).flatten(1, 2)


def generator_inputs(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """faces [F, 6, 96, 96] (the frame with its lower half zeroed, and the reference) and target [F, 3, 96, 96], all in
    0..1, from a GeneratorWindows batch of F frames on the training device; frames of windows come first."""
    target, reference = (to_floats(batch[name]) for name in ("target", "reference"))
    return generator_faces(target, reference), target


def window_frames(frames: torch.Tensor, windows: int, T: int) -> torch.Tensor:
    """Frames [F, C, H, W] of a GeneratorWindows batch -> those of its windows, [windows, C, T, H, W]."""
    return frames[: windows * T].unflatten(0, (windows, T)).transpose(1, 2)
