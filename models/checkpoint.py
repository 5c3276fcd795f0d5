"""Networks from their checkpoints, built to the hyperparameters saved with the weights."""

import json
from pathlib import Path

import torch

from hparams import HParams
from utils import weight_files
from utils.errors import InputError
from utils.files import writable_folder
from utils.weight_kinds import identify


def hparams_of(content: dict, overrides: str = "", of_network: bool = False) -> HParams:
    """The values a checkpoint's network was trained with, changed by `--hparams`. of_network: only what describes the
    network and its inputs, for another training."""
    saved = content.get("hparams")
    hp = HParams.from_dict(saved if isinstance(saved, dict) else None)
    return (hp.of_network() if of_network else hp).override(overrides)


def load_network(path: str | Path, network_class: type, overrides: str = "") -> tuple[torch.nn.Module, HParams]:
    """A network for use, in eval mode on the CPU, built to the values in its checkpoint, and those values."""
    content = weight_files.read(path, mapped=True)
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


def export(source: Path, target: Path) -> str:
    """Write the network's weights alone, in half precision, with the values that describe it and its inputs; returns
    what network it is, in words."""
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: give a name that ends in .safetensors")
    writable_folder(target.parent, "OUT")
    content = weight_files.read(source)
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in content["state_dict"].items()
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise InputError(f"{source}: has values that half precision cannot hold; share the file itself")
    weight_files.write_safetensors(target, state, {"hparams": json.dumps(hparams_of(content).network_values())})
    return identify(state)
