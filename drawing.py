"""Faces and speech -> faces with new mouths: the generator, from pictures to pictures."""

import numpy as np
import torch

from devices import Precision
from face_detection.crop import generator_faces


@torch.inference_mode()
def draw_mouths(generator: torch.nn.Module, faces: np.ndarray, references: np.ndarray, mels: np.ndarray,
                precision: Precision) -> np.ndarray:  # fmt: skip
    """faces, references: uint8 BGR [B, S, S, 3]; mels: float32 [B, 1, 80, 16] -> uint8 BGR [B, S, S, 3].

    generator: in eval mode on precision's device.
    """
    shown, reference = (
        torch.tensor(pictures).to(precision.device).permute(0, 3, 1, 2).float() / 255
        for pictures in (faces, references)
    )
    with precision.autocast():
        drawn = generator(torch.from_numpy(mels).to(precision.device), generator_faces(shown, reference))
    return (drawn.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
