"""The generator run by PyTorch."""

from pathlib import Path

import numpy as np
from torch import nn

from hparams import HParams
from models import Wav2Lip
from models.batched_generator import fold_batch_norms, generate_faces
from models.checkpoint import load_network
from utils import weight_files
from utils.devices import Precision, pick_device
from utils.memory import HalvingBatches

BATCH_CPU, BATCH_GPU = 16, 128


class TorchGenerator:
    """Generates in batches, and in smaller ones from when the device runs out of memory.

    generator: from fold_batch_norms; batch_size: how many frames at once; path: the file of its
    weights.
    """

    engine = "torch"

    def __init__(self, generator: nn.Module, precision: Precision, batch_size: int, path: Path | None = None) -> None:
        self.generator, self.number_format, self.path = generator, precision, path
        self.precision, self.device = precision.name, str(precision.device)
        self.batches = HalvingBatches(batch_size)

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    @property
    def halved(self) -> int:
        return self.batches.halved

    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """As a GeneratorEngine."""

        def generate(part: slice) -> np.ndarray:
            shown, heard = faces[part], mels[part]
            return generate_faces(self.generator, shown, shown, heard, self.number_format)

        return np.concatenate(self.batches.run(generate, len(faces)))

    def fingerprint(self) -> str:
        """As a GeneratorEngine; weights that are in no file have none."""
        if self.path is None:
            return ""
        return weight_files.fingerprint(weight_files.read(self.path)["state_dict"])


def load(
    path: Path, precision: str, device: str, batch_size: int | None, overrides: str
) -> tuple[TorchGenerator, HParams]:
    """Arguments as of load_generator."""
    number_format = Precision(precision, pick_device(device))
    generator, hp = load_network(path, Wav2Lip, overrides)
    at_once = batch_size or (BATCH_CPU if number_format.device.type == "cpu" else BATCH_GPU)
    return TorchGenerator(fold_batch_norms(generator, number_format), number_format, at_once, path), hp
