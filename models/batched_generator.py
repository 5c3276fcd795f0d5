"""The generator for inference by PyTorch: pictures and mel windows in, pictures with new mouths out."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.inputs import generator_faces
from utils.devices import Precision, channels_last


def fold_batch_norms(generator: nn.Module, precision: Precision) -> nn.Module:
    """The generator for inference alone: batch norms folded into their convolutions, weights in the precision, channels
    last, on precision's device. It is changed in place."""
    for module in generator.modules():
        block = getattr(module, "conv_block", None)
        if block is not None and isinstance(block[-1], nn.BatchNorm2d):
            conv, norm = block
            folded = fuse_conv_bn_eval(conv.float(), norm.float(), isinstance(conv, nn.ConvTranspose2d))
            module.conv_block = nn.Sequential(folded.to(precision.dtype))  # one by one, which saves memory
    generator.requires_grad_(False)
    return channels_last(generator, precision.device, precision.dtype)


@torch.inference_mode()
def generate_faces(
    generator: nn.Module, faces: np.ndarray, references: np.ndarray, mels: np.ndarray, precision: Precision
) -> np.ndarray:
    """faces, references: uint8 BGR [B, S, S, 3]; mels: float32 [B, 1, 80, 16] -> uint8 BGR [B, S, S, 3].

    generator: in eval mode on precision's device.
    """
    shown = torch.tensor(faces).to(precision.device)
    other = shown if references is faces else torch.tensor(references).to(precision.device)
    with precision.autocast():
        heard = torch.from_numpy(mels).to(precision.device)
        return draw_faces(generator, shown, other, heard).cpu().numpy()


def draw_faces(generator: nn.Module, faces: torch.Tensor, references: torch.Tensor, mels: torch.Tensor) -> torch.Tensor:
    """generate_faces on the generator's device, tensors of the same shapes and kinds."""
    dtype = next(generator.parameters()).dtype
    frame = faces.permute(0, 3, 1, 2).to(dtype) / 255
    reference = frame if references is faces else references.permute(0, 3, 1, 2).to(dtype) / 255
    generated = generator(mels.to(dtype), generator_faces(frame, reference))
    return (generated.float() * 255).round().byte().permute(0, 2, 3, 1)
