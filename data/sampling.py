"""Which windows a training step consists of, and how often each person is drawn.

Everything follows from the seed and the sample's index in the run alone, so runs can be repeated and resumed with any
number of loader workers. A step's windows come first, its single frames after them:

    step        0 ... frames_first-1              from frames_first on
    drawn       windows·5 + frames single frames  windows of five frames, then `frames` single ones
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

from utils.errors import InputError

SINGLE_SEED = 500_009  # added to the seed for single frames
OF_WINDOW, OF_PERSON = 0, 1  # what random numbers are for: the end of their seed
UNKNOWN = 1 << 62  # frames_first while it is not known yet: a step that no run reaches


class Key(NamedTuple):
    """What a dataset is asked for."""

    sample_index: int  # in the run, for random choices
    window: int
    frames: int  # how many of the window's frames are wanted


@dataclass(frozen=True)
class StepPlan:
    """What a step draws, over all processes: windows and single frames; only single frames in the first steps."""

    windows: int
    window_frames: int = 5
    frames: int = 0
    frames_first: int = 0  # steps

    def drawn_before(self, step: int) -> tuple[int, int]:
        """Windows and single frames of all steps before this one, which is counted from 0."""
        first, later = min(step, self.frames_first), max(0, step - self.frames_first)
        return later * self.windows, first * self.most_frames + later * self.frames

    @property
    def most_frames(self) -> int:
        return self.windows * self.window_frames + self.frames


IndexSampler = Callable[[int], int]  # the window number at each position of an endless sequence


class ShuffleSampler:
    """Every window once an epoch, shuffled again in each."""

    def __init__(self, windows: int, seed: int) -> None:
        self.windows, self.seed = windows, seed
        self._epoch, self._order = -1, torch.zeros(0)

    def __call__(self, position: int) -> int:
        epoch, position = divmod(position, self.windows)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.windows, generator=generator)
        return int(self._order[position])


class PersonSampler:
    """A person by their weight, then one of their clips, then one of its windows.

    persons: of each clip; counts: windows of each clip; weights: of persons, 1 for one who is not named.
    """

    def __init__(self, persons: Sequence[str], counts: Sequence[int], weights: dict[str, float], seed: int) -> None:
        self.seed = seed
        self.counts = np.asarray(counts)
        self.starts = np.cumsum(self.counts) - self.counts
        names = list(dict.fromkeys(persons))
        self.clips = [[number for number, person in enumerate(persons) if person == name] for name in names]
        self.chances = np.array([weights.get(name, 1.0) for name in names])
        self.chances /= self.chances.sum()

    def __call__(self, position: int) -> int:
        rng = np.random.default_rng((self.seed, position, OF_PERSON))
        clip = rng.choice(self.clips[int(rng.choice(len(self.clips), p=self.chances))])
        return int(self.starts[clip] + rng.integers(self.counts[clip]))


def parse_weights(text: str, persons: Sequence[str]) -> dict[str, float]:
    """The weights in "anna:1.6 ben:0.5". Raises InputError for any other form, and for unknown names."""
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
    """The keys of each batch from step `start` on, without end. `world` processes, of which this is `rank`, share a
    step's windows and frames evenly, each in `parts` batches."""

    def __init__(
        self, plan: StepPlan, windows: IndexSampler, frames: IndexSampler, start: int = 0, parts: int = 1,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.plan, self.windows, self.frames = plan, windows, frames
        self.start, self.parts, self.rank, self.world = start, parts, rank, world

    def __iter__(self) -> Iterator[list[Key]]:
        for step in count(self.start):
            windows, frames = self._step(step)
            for part in range(self.parts):
                yield [*self._share(windows, part), *self._share(frames, part)]

    def _step(self, step: int) -> tuple[list[Key], list[Key]]:
        plan = self.plan
        drawn, drawn_then = plan.drawn_before(step), plan.drawn_before(step + 1)
        windows = [self.windows(position) for position in range(drawn[0], drawn_then[0])]
        frames = [self.frames(position) for position in range(drawn[1], drawn_then[1])]
        first = step * (plan.most_frames if plan.frames or plan.frames_first else plan.windows)
        keys = [Key(first + n, window, plan.window_frames) for n, window in enumerate(windows)]
        return keys, [Key(first + len(keys) + n, window, 1) for n, window in enumerate(frames)]

    def _share(self, keys: list[Key], part: int) -> list[Key]:
        size = len(keys) // (self.parts * self.world)
        first = (part * self.world + self.rank) * size
        return keys[first : first + size]
