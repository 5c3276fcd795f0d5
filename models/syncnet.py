"""The lip-sync expert, SyncNet on colour frames (Wav2Lip, ACM MM 2020, section 3.1), and the published scorer, SyncNet
(Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016)."""

import torch
import torch.nn.functional as F
from torch import nn

from models.wav2lip import scaled, stage


class SyncNet_color(nn.Module):
    """Embeds five lower half faces and a mel window; the cosine of the two embeddings is high when they match.

    Both embeddings end in a ReLU, so that the cosine lies in 0..1 and can be read as a probability.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled(c, width) for c in (32, 64, 128, 256, 512))

        self.face_encoder = nn.Sequential(
            *stage(15, c32, 7, 1, 3),  # 48x96
            *stage(c32, c64, 5, (1, 2), 1, residuals=2),  # 46x47
            *stage(c64, c128, 3, 2, 1, residuals=3),  # 23x24
            *stage(c128, c256, 3, 2, 1, residuals=2),  # 12x12
            *stage(c256, c512, 3, 2, 1, residuals=2),  # 6x6
            *stage(c512, c512, 3, 2, 1),  # 3x3
            *stage(c512, c512, 3, 1, 0),  # 1x1
            *stage(c512, c512, 1, 1, 0),
        )
        self.audio_encoder = nn.Sequential(
            *stage(1, c32, 3, 1, 1, residuals=2),  # 80x16
            *stage(c32, c64, 3, (3, 1), 1, residuals=2),  # 27x16
            *stage(c64, c128, 3, 3, 1, residuals=2),  # 9x6
            *stage(c128, c256, 3, (3, 2), 1, residuals=2),  # 3x3
            *stage(c256, c512, 3, 1, 0),  # 1x1
            *stage(c512, c512, 1, 1, 0),
        )

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """mel [B, 1, 80, 16] in -4..4, faces [B, 15, 48, 96] in 0..1 (five BGR lower halves on channels)
        -> (audio [B, 512], face [B, 512]), both of unit length."""
        return self.embed_audio(mel), self.embed_faces(faces)

    def embed_audio(self, mel: torch.Tensor) -> torch.Tensor:
        """mel [B, 1, 80, 16] -> [B, 512] of unit length."""
        return F.normalize(self.audio_encoder(mel).flatten(1), dim=1)

    def embed_faces(self, faces: torch.Tensor) -> torch.Tensor:
        """faces [B, 15, 48, 96] -> [B, 512] of unit length."""
        return F.normalize(self.face_encoder(faces).flatten(1), dim=1)


class SyncNet_v2(nn.Module):
    """The network of `syncnet_v2.model`. Embeds five faces and 0.2 s of sound; the embeddings, not of unit length, lie
    close when they match."""

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
