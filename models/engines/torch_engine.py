"""The generator run by PyTorch."""

from pathlib import Path

import numpy as np
from torch import nn

from hparams import HParams
from models import Wav2Lip
from models.batched_generator import fold_batch_norms, generate_faces
from models.checkpoint import load_network
from models.engines.fixed_batches import FixedBatches
from models.engines.generator import with_upper_rows
from utils import weight_files
from utils.batches import HalvingBatches
from utils.devices import Precision, pick_device

BATCH_CPU, BATCH_GPU = 16, 128


class TorchGenerator:
    """Generates in batches, and in smaller ones from when the device runs out of memory.

    generator: from fold_batch_norms; batch_size: how many frames at once; first_row: from which row on faces are drawn;
    path: the file of its weights.
    """

    engine = "torch"

    def __init__(
        self, generator: nn.Module, precision: Precision, batch_size: int, first_row: int = 0, path: Path | None = None
    ) -> None:
        self.generator, self.number_format, self.first_row, self.path = generator, precision, first_row, path
        self.precision, self.device = precision.name, str(precision.device)
        self.batches = HalvingBatches(batch_size)
        self.fixed: FixedBatches | None = None  # on a GPU, once the faces' size is known

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    @property
    def halved(self) -> int:
        return self.batches.halved

    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """As a GeneratorEngine."""
        if self.number_format.device.type == "cuda":
            return with_upper_rows(self._in_fixed_batches(faces, mels), faces)

        def generate(part: slice) -> np.ndarray:
            shown, heard = faces[part], mels[part]
            return generate_faces(self.generator, shown, shown, heard, self.number_format, self.first_row)

        return with_upper_rows(np.concatenate(self.batches.run(generate, len(faces))), faces)

    def _in_fixed_batches(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """The lower rows of all faces."""
        device, size, mel_shape = self.number_format.device, faces.shape[1], mels.shape[2:]

        def generate(part: slice) -> np.ndarray:
            if self.fixed is None or self.fixed.batch_size != part.stop:
                self.fixed = None  # its memory is free before more is taken
                self.fixed = FixedBatches(self.generator, device, part.stop, size, mel_shape, self.first_row)
            return self.fixed(faces, mels)

        return self.batches.run(generate, 1)[0]  # one piece of work, by itself in batches of the size that fits

    def fingerprint(self) -> str:
        """As a GeneratorEngine; weights that are in no file have none."""
        return weight_files.fingerprint(weight_files.read(self.path, mapped=True)["state_dict"]) if self.path else ""


def load(
    path: Path, precision: str, device: str, batch_size: int | None, first_row: int, overrides: str
) -> tuple[TorchGenerator, HParams]:
    """Arguments as of load_generator."""
    number_format = Precision(precision, pick_device(device))
    generator, hp = load_network(path, Wav2Lip, overrides)
    at_once = batch_size or (BATCH_CPU if number_format.device.type == "cpu" else BATCH_GPU)
    return TorchGenerator(fold_batch_norms(generator, number_format), number_format, at_once, first_row, path), hp
