"""The generator on a GPU draws what it draws on a CPU."""

import numpy as np
import pytest
import torch

from conftest import NARROW
from gpus import CPU, needs_gpus
from models import Wav2Lip
from models.torch_backend import array_networks
from utils.devices import Precision


def generate(device: torch.device, precision: str, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
    torch.manual_seed(0)
    here = Precision(precision, device)
    (network,) = array_networks("generator", Wav2Lip(NARROW.width), here)
    return network(faces, mels)


@pytest.mark.parametrize(
    ("precision", "levels"),
    [pytest.param(name, levels, marks=needs_gpus()) for name, levels in (("fp32", 1), ("bf16", 8), ("fp16", 2))],
)
def test_a_gpu_draws_what_a_cpu_draws(precision, levels):
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (11, 96, 96, 3), np.uint8)
    mels = rng.normal(size=(11, 1, 80, 16)).astype(np.float32)
    expected = generate(CPU, "fp32", faces, mels)
    drawn = generate(torch.device("cuda"), precision, faces, mels)
    assert np.abs(drawn.astype(int) - expected).max() <= levels
