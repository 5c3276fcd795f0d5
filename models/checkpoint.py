"""Networks from their checkpoints, built to the hyperparameters saved with the weights; refiners to their files."""

import json
from pathlib import Path

import torch

from hparams import HParams, hparams
from models.reference_bank import ReferenceBank
from utils import weight_files
from utils.errors import InputError

FIXED = ("num_mels", "mel_window", "img_size")  # values that the layers of the networks are made for


def hparams_of(content: dict, overrides: str = "", of_network: bool = False) -> HParams:
    """The values a checkpoint's network was trained with, changed by `--hparams`. of_network: only what describes the
    network and its inputs, for another training."""
    saved = content.get("hparams")
    try:
        hp = _fitting(HParams.from_dict(saved if isinstance(saved, dict) else None), "saved hparams")
    except InputError as error:
        raise InputError(f"{content['source']}: cannot be used: {error}") from error
    return _fitting((hp.of_network() if of_network else hp).override(overrides), "--hparams")


def _fitting(hp: HParams, given_by: str) -> HParams:
    for name in FIXED:
        if getattr(hp, name) != getattr(hparams, name):
            raise InputError(f"{given_by} {name}={getattr(hp, name)}: the networks take {getattr(hparams, name)} alone")
    return hp


def load_network(path: str | Path, network_class: type, overrides: str = "") -> tuple[torch.nn.Module, HParams]:
    """A network for use, in eval mode on the CPU, built to the values in its checkpoint, and those values."""
    content = weight_files.read(path)
    return build_network(network_class, content, path, overrides)


def build_network(
    network_class: type, content: dict, source: str | Path, overrides: str = ""
) -> tuple[torch.nn.Module, HParams]:
    """As load_network, from what weight_files.read returned for `source`."""
    hp = hparams_of(content, overrides)
    with torch.device("meta"):
        network = network_class(hp.width)
    weight_files.load_into(network, content["state_dict"], source)
    return network.eval(), hp


def save_refiner(
    path: Path, state_dict: dict[str, torch.Tensor], hp: HParams, bank: ReferenceBank | None, generator: str
) -> None:
    """Write the file that models/face_refiner.py loads: a refiner in half precision with its bank, if any, and the
    fingerprint of its generator."""
    state = {name: tensor.half().contiguous() for name, tensor in state_dict.items()}
    pictures = {name: torch.from_numpy(file) for name, file in (bank.encoded() if bank else {}).items()}
    metadata = {"hparams": json.dumps(hp.to_dict()), "generator": generator}
    weight_files.write_safetensors(path, state | pictures, metadata)
