"""The network of the published scorer, SyncNet (Chung and Zisserman, "Out of time: automated lip sync in the wild",
2016), as its weight file `syncnet_v2.model` holds it."""

import torch
from torch import nn


class SyncNet_v2(nn.Module):
    """Embeds five faces and 0.2 s of sound; the embeddings, not of unit length, lie close when they match."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block(nn.Conv2d(1, 64, 3, padding=1)),  # 13x20
            nn.MaxPool2d(1, 1),
            *_block(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),  # 11x9
            *_block(nn.Conv2d(192, 384, 3, padding=1)),
            *_block(nn.Conv2d(384, 256, 3, padding=1)),
            *_block(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, 2),  # 5x4
            *_block(nn.Conv2d(256, 512, (5, 4))),  # 1x1
        )
        self.netcnnlip = nn.Sequential(
            *_block(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2))),  # 1x109x109
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),  # 1x54x54
            *_block(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1))),  # 1x26x26
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),  # 1x13x13
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),  # 1x6x6
            *_block(nn.Conv3d(256, 512, (1, 6, 6))),  # 1x1x1
        )
        self.netfcaud = _head()
        self.netfclip = _head()

    def embed_audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        """mfcc [B, 1, 13, 20] -> [B, 1024]."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def embed_faces(self, faces: torch.Tensor) -> torch.Tensor:
        """faces [B, 3, 5, 224, 224], BGR in 0..255 -> [B, 1024]."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def _block(conv: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm3d if isinstance(conv, nn.Conv3d) else nn.BatchNorm2d
    return conv, norm(conv.out_channels), nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
