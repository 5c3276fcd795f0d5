"""The lip-sync expert: SyncNet on colour frames (Wav2Lip, ACM MM 2020, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from models.conv import scaled, stage


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
