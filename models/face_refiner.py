"""A refiner ready for use, with the reference bank of a person, and the one file that holds both.

person.safetensors: the refiner's weights under their own names, the bank's pictures as WebP (bank.0000, bank.0001 ...);
in its metadata the values it was trained with and the fingerprint of the generator that it belongs to.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hparams import HParams
from models.checkpoint import hparams_of
from models.reference_bank import PREFIX, ReferenceBank, decoded, describe
from models.refiner import Refiner
from utils import weight_files
from utils.devices import HalvingBatches, Precision, channels_last
from utils.errors import InputError

PERSON = "person.safetensors"
BATCH_CPU, BATCH_GPU = 8, 32  # frames refined at once

Pictures = np.ndarray | torch.Tensor


def refine(
    network: Callable[..., torch.Tensor],
    generated: Pictures,
    shown: Pictures,
    references: Pictures,
    device: torch.device,
) -> torch.Tensor:
    """What training, evaluation and dubs all go through. network: a Refiner; generated: uint8 BGR [B, 96, 96, 3];
    shown: the same frames' own faces, uint8 [B, S, S, 3], of which the upper halves alone are looked at; references:
    uint8 [B, K, S, S, 3] -> refined faces [B, 3, S, S] in about 0..1, not clipped."""
    return network(*(to_floats(pictures, device) for pictures in (generated, shown, references)))


def to_floats(pictures: Pictures, device: torch.device) -> torch.Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in 0..1."""
    return torch.as_tensor(pictures).to(device).movedim(-1, -3).float() / 255


def to_pictures(faces: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W], clipped to 0..1 -> uint8 [B, H, W, 3]."""
    return (faces.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1)


class FaceRefiner:
    """network: a Refiner; hp: the values it was trained with; bank: the person's references, None for a refiner of
    anyone; path: its file; generator: fingerprint of the generator it belongs to."""

    def __init__(
        self,
        network: torch.nn.Module,
        hp: HParams,
        precision: Precision,
        bank: ReferenceBank | None = None,
        path: Path | None = None,
        generator: str = "",
    ) -> None:
        self.network = channels_last(network.eval(), precision.device)
        self.hp, self.bank, self.precision = hp, bank, precision
        self.path, self.generator = path, generator
        self.batches = HalvingBatches(BATCH_CPU if precision.device.type == "cpu" else BATCH_GPU)

    @property
    def size(self) -> int:
        """Pixels of both sides of a refined face."""
        return self.hp.refiner_size

    @torch.no_grad()
    def __call__(
        self, generated: np.ndarray, shown: np.ndarray, bank: ReferenceBank, excluded: np.ndarray | None = None
    ) -> np.ndarray:
        """Refined faces, uint8 BGR [B, S, S, 3]; generated, shown: as of `refine`; bank: its own, or one of the
        video; excluded: bool [B, N], pictures of the bank that are not to be taken."""
        descriptors = describe(shown, generated)

        def refined(part: slice) -> np.ndarray:
            not_these = None if excluded is None else excluded[part]
            references = bank.nearest(descriptors[part], self.hp.refiner_references, not_these)
            with self.precision.autocast():
                faces = refine(self.network, generated[part], shown[part], references, self.precision.device)
            return to_pictures(faces).cpu().numpy()

        return np.concatenate(self.batches.run(refined, len(generated)))


def save(path: Path, state_dict: dict, hp: HParams, bank: ReferenceBank | None, generator: str) -> None:
    """Write a refiner in half precision with its bank, if any."""
    state = {name: tensor.half().contiguous() for name, tensor in state_dict.items()}
    metadata = {"hparams": json.dumps(hp.to_dict()), "generator": generator}
    weight_files.write_safetensors(path, state | (bank.encoded() if bank else {}), metadata)


def generator_of(path: Path) -> str:
    """The fingerprint of the generator that a person's file belongs to, "" where the file cannot be read."""
    try:
        return weight_files.read(path, mapped=True).get("generator", "")
    except InputError:  # a damaged one is nobody's
        return ""


def load(path: Path, precision: Precision) -> FaceRefiner:
    """A refiner for use. Raises InputError where the file holds something else."""
    content = weight_files.read(path)
    hp, tensors = hparams_of(content), content["state_dict"]
    with torch.device("meta"):
        network = Refiner(hp.refiner_size, hp.refiner_width)
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    weight_files.load_into(network, weights, path)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    try:
        bank = decoded(kept, hp.refiner_size) if kept else None
    except InputError as error:
        raise InputError(f"{path}: its reference bank cannot be used: {error}") from error
    return FaceRefiner(network, hp, precision, bank, path, content.get("generator", ""))
