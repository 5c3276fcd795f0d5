"""The expert and the refiner run by PyTorch, on any device."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from hparams import HParams
from models import SyncNet_color
from models.checkpoint import hparams_of, load_network
from models.engines.array_networks import FaceEncoder, MelEncoder, PictureRefiner
from models.engines.networks import Encoders, RefinerNetwork
from models.reference_bank import PREFIX
from models.refiner import Refiner
from utils import weight_files
from utils.devices import Precision, channels_last, pick_device
from utils.memory import HalvingBatches

WINDOWS = 64  # embedded at once
FACES_CPU, FACES_GPU = 8, 32  # refined at once


class TorchNetwork:
    """An ArrayNetwork; batches are halved when the device runs out of memory. module: one of array_networks.py, on
    precision's device."""

    def __init__(self, module: nn.Module, precision: Precision, batch_size: int) -> None:
        self.module, self.precision, self.batches = module.eval(), precision, HalvingBatches(batch_size)

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    @torch.inference_mode()
    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        def run(part: slice) -> np.ndarray:
            arrays = (torch.from_numpy(np.ascontiguousarray(array[part])) for array in inputs)
            with self.precision.autocast():
                return self.module(*(array.to(self.precision.device) for array in arrays)).cpu().numpy()

        return np.concatenate(self.batches.run(run, len(inputs[0])))


def encoders(expert: nn.Module, precision: Precision) -> Encoders:
    """Of a SyncNet_color, which moves to precision's device."""
    expert = channels_last(expert.eval(), precision.device)
    return Encoders(*(TorchNetwork(module(expert), precision, WINDOWS) for module in (FaceEncoder, MelEncoder)))


def refiner(network: nn.Module, precision: Precision) -> TorchNetwork:
    """Of a Refiner, which moves to precision's device."""
    at_once = FACES_CPU if precision.device.type == "cpu" else FACES_GPU
    return TorchNetwork(PictureRefiner(channels_last(network.eval(), precision.device)), precision, at_once)


def load_encoders(path: Path, device: str) -> tuple[Encoders, HParams]:
    """Arguments as of networks.load_encoders."""
    expert, hp = load_network(path, SyncNet_color)
    return encoders(expert, Precision("auto", pick_device(device))), hp


def load_refiner(path: Path, precision: str, device: str) -> RefinerNetwork:
    """Arguments as of networks.load_refiner."""
    network, hp, generator = read_refiner(path)
    return RefinerNetwork(refiner(network, Precision(precision, pick_device(device))), hp, generator)


def read_refiner(path: Path) -> tuple[Refiner, HParams, str]:
    """The network of a refiner's file, the values it was trained with, and the fingerprint of its generator."""
    content = weight_files.read(path)
    hp = hparams_of(content)
    with torch.device("meta"):
        network = Refiner(hp.refiner_size, hp.refiner_width)
    weights = {name: tensor for name, tensor in content["state_dict"].items() if not name.startswith(PREFIX)}
    weight_files.load_into(network, weights, path)
    return network.eval(), hp, content.get("generator", "")
