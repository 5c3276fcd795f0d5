"""Networks from their weight files, run by PyTorch on any device: each is wrapped so that arrays as they lie in memory
go in and come out.

OpenVINO models and exported ones are made of the same wrappers (models/conversion.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hparams import HParams, hparams
from models import SyncNet_color, Wav2Lip
from models.backend import OCCLUSION_SIZE, Backend, Loaded
from models.discriminators import OcclusionNet
from models.wav2lip import generator_faces, to_floats
from utils import weight_files
from utils.devices import Precision, channels_last, pick_device
from utils.errors import InputError
from utils.process import HalvingBatches

BATCH_SIZES = {"generator": (16, 128), "expert": (64, 64), "occlusion": (1, 1)}  # on a CPU, a GPU
NETWORKS: dict[str, Callable[[HParams], nn.Module]] = {
    "generator": lambda hp: Wav2Lip(hp.width),
    "expert": lambda hp: SyncNet_color(hp.width),
    "occlusion": lambda _: OcclusionNet(),
}
FIXED = ("num_mels", "mel_window", "img_size")  # values that the layers of the networks are made for


class Wrapper(nn.Module):
    """A network as its users see it: its `forward` takes and returns arrays as they lie in memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network


def to_pictures(faces: torch.Tensor) -> torch.Tensor:
    """[..., 3, H, W], clipped to 0..1 -> uint8 [..., H, W, 3]."""
    return (faces.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1)


class PictureGenerator(Wrapper):  # of Wav2Lip
    def forward(self, faces: torch.Tensor, mels: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 BGR [B, S, S, 3], float32 [B, 1, 80, 16], and references like faces, None for the faces themselves
        -> uint8 BGR [B, S, S, 3]."""
        dtype = next(self.network.parameters()).dtype
        pictures = to_floats(faces, dtype)
        others = pictures if references is None else to_floats(references, dtype)
        return to_pictures(self.network(mels.to(dtype), generator_faces(pictures, others)))


class FaceEncoder(Wrapper):  # of SyncNet_color
    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Lower halves of T faces in a row, uint8 BGR [W, T, S/2, S, 3] -> float32 [W, D]."""
        return self.network.embed_faces(to_floats(windows).flatten(1, 2)).float()  # of [W, T·3, S/2, S]


class MelEncoder(Wrapper):  # of SyncNet_color
    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """float32 [W, 1, 80, 16] -> float32 [W, D]."""
        return self.network.embed_audio(mels).float()


class OcclusionFinder(Wrapper):  # of OcclusionNet
    def forward(self, faces: torch.Tensor, medians: torch.Tensor) -> torch.Tensor:
        """BGR in 0..255, float32 and uint8 [B, 48, 48, 3] -> float32 [B, 48, 48], probabilities of being covered."""
        return self.network(to_floats(faces), to_floats(medians)).sigmoid()


def ports(module: Wrapper, hp: HParams) -> tuple[dict[str, torch.Tensor], str]:
    """Of converted and exported models: inputs for a batch of two, by their names, and the name of what comes out."""

    def pictures(*shape: int) -> torch.Tensor:
        return torch.zeros(2, *shape, 3, dtype=torch.uint8)

    size, mels = hp.img_size, torch.zeros(2, 1, hp.num_mels, hp.mel_window)
    if isinstance(module, PictureGenerator):
        return {"faces": pictures(size, size), "mels": mels}, "generated"
    if isinstance(module, FaceEncoder):
        return {"windows": pictures(hp.window_frames, size // 2, size)}, "embeddings"
    if isinstance(module, MelEncoder):
        return {"mels": mels}, "embeddings"
    faces = pictures(OCCLUSION_SIZE, OCCLUSION_SIZE)
    return {"faces": faces.float(), "medians": faces}, "covered"


WRAPPERS = {
    "generator": (PictureGenerator,), "expert": (FaceEncoder, MelEncoder), "occlusion": (OcclusionFinder,),
}  # fmt: skip


class TorchNetwork(HalvingBatches):
    """An ArrayNetwork. module: a Wrapper, on precision's device; its batches are halved when the device runs out of
    memory."""

    def __init__(self, module: Wrapper, precision: Precision, batch_size: int) -> None:
        super().__init__(batch_size)
        self.module, self.precision = module.eval(), precision

    @torch.inference_mode()
    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        def run(part: slice) -> np.ndarray:
            arrays = [torch.tensor(array[part]).to(self.precision.device) for array in inputs]
            with self.precision.autocast():
                return self.module(*arrays).cpu().numpy()

        return np.concatenate(self.run(run, len(inputs[0])))


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


def load_network(path: Path, kind: str, overrides: str = "") -> tuple[nn.Module, HParams]:
    """A network of NETWORKS in eval mode on the CPU, built to the values in its checkpoint, and those values."""
    content = weight_files.read(path)
    hp = hparams_of(content, overrides)
    with torch.device("meta"):
        network = NETWORKS[kind](hp)
    weight_files.load_into(network, content["state_dict"], content["source"])
    return network.eval(), hp


def wrap(kind: str, network: nn.Module, precision: Precision) -> tuple[Wrapper, ...]:
    """A network, which moves to precision's device, as the wrappers that backend.load lists; batch norms of a generator
    are folded into its convolutions, in place."""
    if kind == "generator":
        fold_batch_norms(network, precision)
    else:
        channels_last(network, precision.device)
    return tuple(wrapper(network) for wrapper in WRAPPERS[kind])


def fold_batch_norms(generator: nn.Module, precision: Precision) -> nn.Module:
    """The generator for inference alone, changed in place: batch norms folded into their convolutions, weights in
    precision's dtype, channels last, on precision's device."""
    for module in generator.modules():
        block = getattr(module, "conv_block", None)
        if block is not None and isinstance(block[-1], nn.BatchNorm2d):
            conv, norm = block
            folded = fuse_conv_bn_eval(conv.float(), norm.float(), isinstance(conv, nn.ConvTranspose2d))
            module.conv_block = nn.Sequential(folded.to(precision.dtype))  # one by one, which saves memory
    return channels_last(generator, precision.device, precision.dtype)


def array_networks(
    kind: str, network: nn.Module, precision: Precision, batch_size: int | None = None
) -> tuple[TorchNetwork, ...]:
    """A network, which moves to precision's device, as the array networks that backend.load lists."""
    at_once = batch_size or BATCH_SIZES[kind][precision.device.type != "cpu"]
    return tuple(TorchNetwork(module, precision, at_once) for module in wrap(kind, network.eval(), precision))


def load(kind: str, path: Path, backend: Backend, overrides: str = "", batch_size: int | None = None) -> Loaded:
    """As backend.load."""
    precision = Precision(backend.dtype, pick_device(backend.device))
    network, hp = load_network(path, kind, overrides)
    fingerprint = weight_files.fingerprint(network.state_dict())
    networks = array_networks(kind, network.requires_grad_(False), precision, batch_size)
    used = Backend("torch", precision.name, str(precision.device))
    return Loaded(networks, hp, used, fingerprint)


def load_wrapped(kind: str, path: Path, overrides: str = "") -> tuple[list[Wrapper], Loaded]:
    """As `load`, in single precision on the CPU; and the wrapped networks themselves, to be converted."""
    loaded = load(kind, path, Backend("torch", "fp32", "cpu"), overrides)
    return [cast(TorchNetwork, network).module for network in loaded.networks], loaded
