"""Weights and inputs of the golden reference outputs, rebuilt from their names (tests/golden/README.md)."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"
OUTPUTS = np.load(FOLDER / "golden.npz")
SHAPES = json.loads((FOLDER / "state_dicts.json").read_text())


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _parameter(key: str, shape: list[int]) -> torch.Tensor:
    rng = _generator("wav2lip-dev:" + key)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith(("running_mean", "bias")):
        values = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var") or len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def state_dict(network: str) -> dict[str, torch.Tensor]:
    return {key: _parameter(key, shape) for key, shape in SHAPES[network].items()}


def tensor(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(_generator("wav2lip-dev:input:" + name).random(shape, np.float32))
