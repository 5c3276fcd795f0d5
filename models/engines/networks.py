"""The interface of the networks beside the generator: arrays in, arrays out, whichever engine runs them."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hparams import HParams
from models.engines.choice import Choice


class ArrayNetwork(Protocol):
    """batch_size: rows at once, by now."""

    @property
    def batch_size(self) -> int: ...

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Arrays of equally many rows, at least one -> an array of as many, which do not depend on each other."""
        ...


class Encoders(NamedTuple):
    """Of a lip-sync expert. faces: lower halves of windows, uint8 BGR [W, T, S/2, S, 3] -> float32 [W, D];
    mels: float32 [W, 1, 80, 16] -> float32 [W, D]."""

    faces: ArrayNetwork
    mels: ArrayNetwork


class RefinerNetwork(NamedTuple):
    """refine: generated faces, uint8 BGR [B, 96, 96, 3], shown ones, [B, S, S, 3], and references, [B, K, S, S, 3] ->
    refined faces, uint8 BGR [B, S, S, 3]; hp: the values it was trained with; generator: fingerprint of the one it
    belongs to."""

    refine: ArrayNetwork
    hp: HParams
    generator: str


def load_encoders(path: Path, choice: Choice) -> tuple[Encoders, HParams]:
    """The encoders of the lip-sync expert in a file, in the number format that is fastest there, whatever the generator
    has, and the values it was trained with. Raises InputError where the file does not hold one."""
    if choice.engine == "openvino":
        from models.engines import openvino_engine

        return openvino_engine.load_encoders(path)
    from models.engines import torch_networks

    return torch_networks.load_encoders(path, choice.device)


def load_refiner(path: Path, choice: Choice) -> RefinerNetwork:
    """The refiner in a file, which is not made int8: it takes the fastest other format then. Raises InputError where
    the file holds something else."""
    if choice.engine == "openvino":
        from models.engines import openvino_engine

        return openvino_engine.load_refiner(path, choice.precision)
    from models.engines import torch_networks

    return torch_networks.load_refiner(path, choice.precision, choice.device)
