"""Faces and speech -> faces with new mouths: the generator, from pictures to pictures."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from devices import Precision
from face_detection.crop import generator_faces


def prepared(generator: nn.Module, precision: Precision) -> nn.Module:
    """The generator for drawing alone: batch norms folded into their convolutions, weights in the precision, channels
    last, on precision's device. It is changed in place."""
    for module in generator.modules():
        block = getattr(module, "conv_block", None)
        if block is not None and isinstance(block[-1], nn.BatchNorm2d):
            conv, norm = block
            folded = fuse_conv_bn_eval(conv.float(), norm.float(), isinstance(conv, nn.ConvTranspose2d))
            module.conv_block = nn.Sequential(folded.to(precision.dtype))  # one by one, which saves memory
    generator.requires_grad_(False)
    return generator.to(precision.device, precision.dtype, memory_format=torch.channels_last)


@torch.inference_mode()
def draw_mouths(generator: nn.Module, faces: np.ndarray, references: np.ndarray, mels: np.ndarray,
                precision: Precision) -> np.ndarray:  # fmt: skip
    """faces, references: uint8 BGR [B, S, S, 3]; mels: float32 [B, 1, 80, 16] -> uint8 BGR [B, S, S, 3].

    generator: in eval mode on precision's device.
    """
    dtype = next(generator.parameters()).dtype
    shown, reference = (
        torch.tensor(pictures).to(precision.device).permute(0, 3, 1, 2).to(dtype) / 255
        for pictures in (faces, references)
    )
    with precision.autocast():
        drawn = generator(torch.from_numpy(mels).to(precision.device, dtype), generator_faces(shown, reference))
    return (drawn.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class Artist:
    """Draws mouths in batches, and in smaller ones from when the device runs out of memory.

    generator: prepared(); batch: frames drawn at once at most.
    """

    def __init__(self, generator: nn.Module, precision: Precision, batch: int):
        self.generator, self.precision, self.batch = generator, precision, batch
        self.halved = 0  # times that memory ran out

    def draw(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """As draw_mouths, every face being its own reference."""
        parts, first = [], 0
        while first < len(faces):
            part = slice(first, first + self.batch)
            try:
                parts.append(draw_mouths(self.generator, faces[part], faces[part], mels[part], self.precision))
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                self.batch, self.halved = self.batch // 2, self.halved + 1
                continue
            first += self.batch
        return np.concatenate(parts)
