"""The interface of the engines."""

from pathlib import Path
from typing import Protocol

import numpy as np

from hparams import HParams
from models.engines.choice import Choice


class GeneratorEngine(Protocol):
    """engine: its name; precision: its number format; device: what it runs on; batch_size: frames at once, by now;
    halved: times that memory ran out."""

    engine: str
    precision: str
    device: str

    @property
    def batch_size(self) -> int: ...

    @property
    def halved(self) -> int: ...

    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """faces: uint8 BGR [N, S, S, 3], each its own reference; mels: float32 [N, 1, 80, 16] -> uint8 BGR
        [N, S, S, 3]."""
        ...

    def fingerprint(self) -> str:
        """utils.weight_files.fingerprint of its weights."""
        ...


def load_generator(
    path: Path, sha256: str, choice: Choice, batch_size: int | None, overrides: str
) -> tuple[GeneratorEngine, HParams]:
    """The generator whose weights are in the file, and the values it was trained with.

    sha256: of the file; choice: of `choose`; batch_size: frames at once, None for what suits the device;
    overrides: --hparams.
    """
    if choice.engine == "openvino":
        from models.engines import openvino_engine

        return openvino_engine.load(path, sha256, choice.precision, batch_size, overrides)
    from models.engines import torch_engine

    return torch_engine.load(path, choice.precision, choice.device, batch_size, overrides)
