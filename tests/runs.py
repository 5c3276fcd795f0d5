"""Training runs, and GPUs, that several tests use."""

import struct

import pytest
import torch
from tensorboard.compat.proto.event_pb2 import Event

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


def needs_gpus(count: int = 1) -> list[pytest.MarkDecorator]:
    """Marks of a test that needs so many."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [pytest.mark.cuda, pytest.mark.skipif(found < count, reason=f"needs {count} GPU(s), {found} found")]
