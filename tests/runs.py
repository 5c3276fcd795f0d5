"""Training runs and weight files that several tests use."""

import struct

import safetensors.torch
import torch
from tensorboard.compat.proto.event_pb2 import Event

from utils import weight_files
from utils.files import sha256

EXPERT = "color_syncnet_train"
GENERATOR = "wav2lip_train"


def where(preprocessed, folder):
    return ["--data_root", preprocessed.root, "--filelists_dir", preprocessed.lists, "--checkpoint_dir", folder]


def steps(folder) -> list[int]:
    """The steps of a run's numbered checkpoints."""
    return sorted(int(path.stem.removeprefix("checkpoint_step")) for path in folder.glob("checkpoint_step*.pth"))


def scalars(folder, name: str) -> dict[int, float]:
    """A scalar of a run's TensorBoard log by step. TensorBoard's own reader adds up checksums of pictures in Python."""
    found = {}
    for path in sorted((folder / "logs").glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):  # records of a length, its checksum, an event, and its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                if value.tag == name:
                    found[event.step] = value.simple_value
            at += length + 16
    return found


def save_forms(network, folder):
    """The network's weights in every accepted form: name -> path."""
    state = network.state_dict()
    forms = {
        "published": {"state_dict": state, "optimizer": None, "global_step": 5, "global_epoch": 0},
        "wrapped": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "bare": state,
        "bare wrapped": {f"module.{name}": tensor for name, tensor in state.items()},
    }
    paths = {name: folder / f"{name}.pth" for name in forms}
    for name, content in forms.items():
        torch.save(content, paths[name])
    paths["before zip"] = folder / "before zip.pth"
    torch.save(forms["published"], paths["before zip"], _use_new_zipfile_serialization=False)
    paths["safetensors"] = folder / "weights.safetensors"
    safetensors.torch.save_file(state, paths["safetensors"])
    paths["torchscript"] = folder / "traced.pt"
    example = (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96))
    torch.jit.trace(network, example).save(str(paths["torchscript"]))
    weight_files.TORCHSCRIPT.add(sha256(paths["torchscript"]))
    return paths
