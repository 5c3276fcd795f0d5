"""A refiner ready for use, with the reference bank of a person, and the one file that holds both.

person.safetensors: the refiner's weights under their own names, the bank's pictures as WebP (bank.0000, bank.0001 ...);
in its metadata the values it was trained with and the SHA-256 of the generator that it belongs to.
"""

import json
from pathlib import Path

import numpy as np
import torch

from hparams import HParams
from models.checkpoint import hparams_of
from models.reference_bank import PREFIX, ReferenceBank, decoded, describe
from models.refiner import Refiner
from utils import weight_files
from utils.devices import HalvingBatches, Precision, channels_last

PERSON = "person.safetensors"
BATCH_CPU, BATCH_GPU = 8, 32  # frames refined at once


class FaceRefiner:
    """network: a Refiner; hp: the values it was trained with; bank: the person's references, None for a refiner of
    anyone; path: its file; generator: SHA-256 of the generator it belongs to."""

    def __init__(
        self,
        network: Refiner,
        hp: HParams,
        bank: ReferenceBank | None,
        precision: Precision,
        path: Path,
        generator: str,
    ) -> None:
        self.network = channels_last(network.eval(), precision.device)
        self.hp, self.bank, self.precision = hp, bank, precision
        self.path, self.generator = path, generator
        self.batches = HalvingBatches(BATCH_CPU if precision.device.type == "cpu" else BATCH_GPU)

    @property
    def size(self) -> int:
        """Pixels of both sides of a refined face."""
        return self.hp.refiner_size

    def __call__(self, generated: np.ndarray, shown: np.ndarray, bank: ReferenceBank) -> np.ndarray:
        """Refined faces, uint8 BGR [B, S, S, 3]; generated: uint8 [B, 96, 96, 3]; shown: the same frames' own faces,
        uint8 [B, S, S, 3], of which the upper halves alone are looked at; bank: its own, or one of the video."""
        chosen = bank.nearest(describe(shown, generated), self.hp.refiner_references)

        def refine(part: slice) -> np.ndarray:
            references = pictures_to_tensor(bank.pictures[chosen[part]], self.precision.device)
            return refine_faces(self.network, generated[part], shown[part], references, self.precision)

        return np.concatenate(self.batches.run(refine, len(generated)))


@torch.no_grad()
def refine_faces(
    network: torch.nn.Module, generated: np.ndarray, shown: np.ndarray, references: torch.Tensor, precision: Precision
) -> np.ndarray:
    """As FaceRefiner, with the references [B, K, 3, S, S] in 0..1 given."""
    faces, frames = (pictures_to_tensor(pictures, precision.device) for pictures in (generated, shown))
    with precision.autocast():
        refined = network(faces, frames, references)
    return tensor_to_pictures(refined)


def pictures_to_tensor(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in 0..1."""
    return torch.from_numpy(pictures).to(device).movedim(-1, -3).float() / 255


def tensor_to_pictures(faces: torch.Tensor) -> np.ndarray:
    """[B, 3, H, W], clipped to 0..1 -> uint8 [B, H, W, 3]."""
    return (faces.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy()


def save(path: Path, state_dict: dict, hp: HParams, bank: ReferenceBank | None, generator: str) -> None:
    """Write a refiner in half precision with its bank, if any."""
    state = {name: tensor.half().contiguous() for name, tensor in state_dict.items()}
    metadata = {"hparams": json.dumps(hp.to_dict()), "generator": generator}
    weight_files.write_safetensors(path, state | (bank.encoded() if bank else {}), metadata)


def load(path: Path, precision: Precision) -> FaceRefiner:
    """A refiner for use. Raises InputError where the file holds something else."""
    content = weight_files.read(path)
    hp, tensors = hparams_of(content), content["state_dict"]
    with torch.device("meta"):
        network = Refiner(hp.refiner_size, hp.refiner_width)
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    weight_files.load_into(network, weights, path)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    return FaceRefiner(network, hp, decoded(kept) if kept else None, precision, path, content.get("generator", ""))
