"""The networks as engines take them: arrays as they lie in memory go in and come out, all between them is inside."""

from typing import Any

import torch
from torch import nn

from hparams import HParams
from models.refiner import to_floats, to_pictures

Inputs = dict[str, torch.Tensor]


class FaceEncoder(nn.Module):
    """expert: a SyncNet_color."""

    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.expert: Any = expert

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """windows: lower halves of T faces in a row, uint8 BGR [W, T, S/2, S, 3] -> float32 [W, D]."""
        halves = to_floats(windows, windows.device).flatten(1, 2)  # [W, T·3, S/2, S]
        return self.expert.embed_faces(halves).float()

    @staticmethod
    def example(hp: HParams) -> Inputs:
        shape = 2, hp.window_frames, hp.img_size // 2, hp.img_size, 3
        return {"windows": torch.zeros(shape, dtype=torch.uint8)}


class MelEncoder(nn.Module):
    """expert: a SyncNet_color."""

    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.expert: Any = expert

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """mels: float32 [W, 1, 80, 16] -> float32 [W, D]."""
        return self.expert.embed_audio(mels).float()

    @staticmethod
    def example(hp: HParams) -> Inputs:
        return {"mels": torch.zeros(2, 1, hp.num_mels, hp.mel_window)}


class PictureRefiner(nn.Module):
    """refiner: a Refiner."""

    def __init__(self, refiner: nn.Module) -> None:
        super().__init__()
        self.refiner = refiner

    def forward(self, generated: torch.Tensor, shown: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """uint8 BGR [B, 96, 96, 3], [B, S, S, 3] and [B, K, S, S, 3] -> uint8 BGR [B, S, S, 3]."""
        pictures = generated, shown, references
        return to_pictures(self.refiner(*(to_floats(some, some.device) for some in pictures)))

    @staticmethod
    def example(hp: HParams) -> Inputs:
        sizes = {"generated": (2, hp.img_size), "shown": (2, hp.refiner_size)}
        shapes = {name: (count, size, size, 3) for name, (count, size) in sizes.items()}
        references = 2, hp.refiner_references, hp.refiner_size, hp.refiner_size, 3
        return {
            name: torch.zeros(shape, dtype=torch.uint8) for name, shape in (*shapes.items(), ("references", references))
        }
