"""Face box -> the rectangle that is cut out and pasted back."""

from typing import NamedTuple

import cv2
import numpy as np
import torch

SMALLEST_SIDE = 2  # pixels


class Rect(NamedTuple):
    """A rectangle of whole pixels inside its frame; x2 and y2 are the first pixels outside."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def usable(self) -> bool:
        return min(self.x2 - self.x1, self.y2 - self.y1) >= SMALLEST_SIDE


def pad_and_clip(box, pads: tuple[int, int, int, int], height: int, width: int) -> Rect:
    """The box grown by pads (top, bottom, left, right pixels) and clipped to the frame."""
    x1, y1, x2, y2 = (int(v) for v in box)
    top, bottom, left, right = pads
    return Rect(max(0, x1 - left), max(0, y1 - top), min(width, x2 + right), min(height, y2 + bottom))


def cut(image: np.ndarray, rect: Rect) -> np.ndarray:
    """The part of BGR [H, W, 3] inside rect, a view."""
    return image[rect.y1 : rect.y2, rect.x1 : rect.x2]


def to_network_size(face: np.ndarray, size: int) -> np.ndarray:
    """A face crop resized to size x size, uint8, as training and inference both see it."""
    return cv2.resize(face, (size, size))


def lower_half_windows(faces: np.ndarray, starts, frames: int) -> np.ndarray:
    """What the expert is shown of windows of `frames` faces: uint8 BGR [N, S, S, 3] and the rows [W] at which windows
    start -> float32 [W, 3·frames, S/2, S] in 0..1, frames stacked on channels."""
    S = faces.shape[1]
    rows = np.asarray(starts)[:, None] + np.arange(frames)
    halves = faces[:, S // 2 :][rows].transpose(0, 1, 4, 2, 3)  # [W, frames, 3, S/2, S]
    return halves.reshape(len(rows), -1, S - S // 2, S).astype(np.float32) / 255


def generator_faces(frames: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """What the generator is shown: frames with their lower halves zeroed, then the references, on channels.

    frames, references: [B, 3, (T,) S, S] in 0..1 -> [B, 6, (T,) S, S].
    """
    masked = frames.clone()
    masked[..., frames.shape[-2] // 2 :, :] = 0
    return torch.cat((masked, references), dim=1)
