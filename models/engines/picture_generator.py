"""The generator as other engines take it: pictures in, pictures out, all that lies between them inside."""

import torch
from torch import nn

from models.inputs import generator_faces

INPUTS, OUTPUT = ("faces", "mels"), "generated"


class PictureGenerator(nn.Module):
    """generator: from fold_batch_norms, in single precision."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, faces: torch.Tensor, mels: torch.Tensor) -> torch.Tensor:
        """faces: uint8 BGR [B, S, S, 3], each its own reference; mels: float32 [B, 1, 80, 16] -> uint8 BGR
        [B, S, S, 3]."""
        pictures = faces.permute(0, 3, 1, 2).float() / 255
        generated = self.generator(mels, generator_faces(pictures, pictures))
        return (generated * 255).round().to(torch.uint8).permute(0, 2, 3, 1)

    def example(self, size: int, mel_shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs for a batch of two faces, to trace it with."""
        device = next(self.parameters()).device
        faces = torch.zeros(2, size, size, 3, dtype=torch.uint8, device=device)
        return faces, torch.zeros(2, 1, *mel_shape, device=device)
