"""Faces as the networks take them: the lower half, the masked frame with its reference, stacks of five.

Arrays go through here without PyTorch.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

OCCLUSION_SIZE = 48  # pixels of both sides of what the network behind --occlusion sees

Faces = TypeVar("Faces", np.ndarray, "torch.Tensor")


def lower_half(faces: Faces, height_axis: int = -2) -> Faces:
    """The lower half of faces, a view. height_axis: -2 for tensors [..., H, W], -3 for pictures [..., H, W, 3]."""
    rows = slice(faces.shape[height_axis] // 2, None)
    index: Any = (..., rows, *[slice(None)] * (-height_axis - 1))
    return faces[index]


def expert_faces(faces: "torch.Tensor") -> "torch.Tensor":
    """Windows of faces [B, 3, T, H, W] in 0..1 as the expert takes them: lower halves, frames stacked on channels,
    [B, 3·T, H/2, W]."""
    halves = lower_half(faces)  # [B, 3, T, H/2, W]
    return halves.transpose(1, 2).flatten(1, 2)


def generator_faces(frames: "torch.Tensor", references: "torch.Tensor") -> "torch.Tensor":
    """Frames with their lower halves zeroed, then the references, on channels, as the generator takes them.

    frames, references: [B, 3, (T,) S, S] in 0..1 -> [B, 6, (T,) S, S].
    """
    import torch  # dubs by other engines come without it, and with the functions above
    import torch.nn.functional as F

    size = frames.shape[-2]
    masked = F.pad(frames[..., : size // 2, :], (0, 0, 0, size - size // 2))
    return torch.cat((masked, references), dim=1)


def picture_windows(faces: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """Windows of `frames` pictures in a row: uint8 BGR [N, H, W, 3] and rows [W] at which windows start
    -> uint8 [W, frames, H, W, 3]."""
    return faces[np.asarray(starts)[:, None] + np.arange(frames)]
