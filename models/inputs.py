"""Faces as the networks take them: the lower half, stacks of five, floats for uint8. Imports no PyTorch, since dubs by
OpenVINO use it, too."""

from typing import TYPE_CHECKING, Any, TypeVar

import cv2
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


def to_floats(pictures: "torch.Tensor", dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """uint8 [..., H, W, 3] -> [..., 3, H, W] in 0..1, in dtype or float32."""
    channels_first = pictures.movedim(-1, -3)
    return (channels_first.to(dtype) if dtype else channels_first.float()) / 255


def to_pictures(faces: "torch.Tensor") -> "torch.Tensor":
    """[..., 3, H, W], clipped to 0..1 -> uint8 [..., H, W, 3]."""
    return (faces.float().clamp(0, 1) * 255).round().byte().movedim(-3, -1)


def picture_windows(faces: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """Windows of `frames` pictures in a row: uint8 BGR [N, H, W, 3] and rows [W] at which windows start
    -> uint8 [W, frames, H, W, 3]."""
    return faces[np.asarray(starts)[:, None] + np.arange(frames)]


def sharpness(picture: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Variance of the Laplacian of grey levels (0..255) of uint8 BGR [H, W, 3], under weights [H, W]. Noise is as sharp
    as detail; a face that was filmed small, or a larger crop of the same face, is less sharp."""
    edges = cv2.Laplacian(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_BGR2GRAY), cv2.CV_32F)
    if weights is None:
        return float(edges.var())
    return float(np.average(np.square(edges - np.average(edges, weights=weights)), weights=weights))
