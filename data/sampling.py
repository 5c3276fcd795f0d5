"""Which windows a training step consists of, and who is drawn how often.

Everything follows from the seed and the place in the run alone, so runs can be repeated and resumed with any number of
loader processes. A step's windows come first, its single frames after them:

    step        0 ... frames_first-1              from frames_first on
    drawn       windows·5 + frames single frames  windows of five frames, then `frames` single ones
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

from hparams import HParams
from utils.errors import InputError

SINGLE_SEED = 500_009  # added to the seed where single frames are drawn
UNKNOWN = 1 << 62  # a step that no run reaches: windows begin at one that is not known yet


class Stream(IntEnum):
    """What is drawn at a place of the run. Each has random numbers of its own, so that none depends on another."""

    WINDOW = 0  # a window's label, reference, augmentation
    PERSON = 1  # whose window it is, and which

    def generator(self, seed: int, place: int) -> np.random.Generator:
        return np.random.default_rng((seed, place, self))


class Key(NamedTuple):
    """What a dataset is asked for. place: in the run, for its random choices; window: its number; frames: how many of
    the window's frames are wanted."""

    place: int
    window: int
    frames: int


@dataclass(frozen=True)
class StepPlan:
    """What a step draws, over all processes: windows of window_frames frames and single frames besides; in the first
    steps single frames in place of the windows."""

    windows: int
    window_frames: int = 5
    frames: int = 0
    frames_first: int = 0

    def counts(self, step: int) -> tuple[int, int]:
        """Windows and single frames of a step, counted from 0."""
        return (0, self.most_frames) if step < self.frames_first else (self.windows, self.frames)

    def drawn_before(self, step: int) -> tuple[int, int]:
        """Windows and single frames of all steps before this one."""
        first, later = min(step, self.frames_first), max(0, step - self.frames_first)
        return later * self.windows, first * self.most_frames + later * self.frames

    @property
    def most_frames(self) -> int:
        return self.windows * self.window_frames + self.frames

    @property
    def places(self) -> int:
        """Places in the run that a step takes up."""
        return self.most_frames if self.frames or self.frames_first else self.windows


class Drawing(ABC):
    """An endless sequence of numbers of windows."""

    def draw(self, first: int, count: int) -> list[int]:
        """Those at `first`, `first` + 1, ..."""
        return [self._at(place) for place in range(first, first + count)]

    @abstractmethod
    def _at(self, place: int) -> int: ...


class Shuffled(Drawing):
    """Every window once an epoch, in an order of its own each time."""

    def __init__(self, windows: int, seed: int) -> None:
        self.windows, self.seed = windows, seed
        self._epoch, self._order = -1, torch.zeros(0)

    def _at(self, place: int) -> int:
        epoch, position = divmod(place, self.windows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.windows, generator=generator)
        return int(self._order[position])


class People(Drawing):
    """A person by their weight, a clip of theirs, a window of it.

    persons: whose each clip is; counts: windows of each clip; weights: of persons, 1 for one who is not named.
    """

    def __init__(self, persons: Sequence[str], counts: Sequence[int], weights: dict[str, float], seed: int) -> None:
        self.seed = seed
        self.counts = np.asarray(counts)
        self.starts = np.cumsum(self.counts) - self.counts
        names = list(dict.fromkeys(persons))
        self.clips = [[number for number, person in enumerate(persons) if person == name] for name in names]
        self.chances = np.array([weights.get(name, 1.0) for name in names])
        self.chances /= self.chances.sum()

    def _at(self, place: int) -> int:
        rng = Stream.PERSON.generator(self.seed, place)
        clip = rng.choice(self.clips[int(rng.choice(len(self.clips), p=self.chances))])
        return int(self.starts[clip] + rng.integers(self.counts[clip]))


def drawing(hp: HParams, persons: Sequence[str], counts: Sequence[int], lone_clip_wt: float, seed: int) -> Drawing:
    """How windows are drawn by hp.sampling. lone_clip_wt: weight of a person with a single clip."""
    if hp.sampling == "windows":
        return Shuffled(int(sum(counts)), seed)
    lone = {person: lone_clip_wt for person, clips in Counter(persons).items() if clips == 1}
    return People(persons, counts, lone | named_weights(hp.people_weights, persons), seed)


def named_weights(text: str, persons: Sequence[str]) -> dict[str, float]:
    """The weights in "anna:1.6 ben:0.5". Raises InputError for other forms and for names that nobody has."""
    weights = {}
    for part in text.split():
        name, _, weight = part.rpartition(":")
        try:
            weights[name] = float(weight)
        except ValueError as error:
            raise InputError(f"--hparams people_weights={text}: write name:weight name:weight ...") from error
        if name not in persons or not weights[name] > 0:
            known = ", ".join(dict.fromkeys(persons))
            raise InputError(f"--hparams people_weights={text}: {part}: needs one of these people, above 0: {known}")
    return weights


class StepSampler(Sampler[list[Key]]):
    """The keys of each batch from step `start` on, without end: a step's windows and frames are shared evenly among
    `parts` batches of each of `world` processes, of which `rank` is this one."""

    def __init__(
        self, plan: StepPlan, windows: Drawing, frames: Drawing, start: int = 0, parts: int = 1, rank: int = 0,
        world: int = 1,
    ) -> None:  # fmt: skip
        self.plan, self.windows, self.frames = plan, windows, frames
        self.start, self.parts, self.rank, self.world = start, parts, rank, world

    def __iter__(self) -> Iterator[list[Key]]:
        step = self.start
        while True:
            windows, frames = self._step(step)
            for part in range(self.parts):
                yield [*self._share(windows, part), *self._share(frames, part)]
            step += 1

    def _step(self, step: int) -> tuple[list[Key], list[Key]]:
        (windows, frames), before = self.plan.counts(step), self.plan.drawn_before(step)
        place = step * self.plan.places
        keys = [
            Key(place + number, window, self.plan.window_frames)
            for number, window in enumerate(self.windows.draw(before[0], windows))
        ]
        singles = self.frames.draw(before[1], frames)
        return keys, [Key(place + windows + number, window, 1) for number, window in enumerate(singles)]

    def _share(self, keys: list[Key], part: int) -> list[Key]:
        size = len(keys) // (self.parts * self.world)
        first = (part * self.world + self.rank) * size
        return keys[first : first + size]
