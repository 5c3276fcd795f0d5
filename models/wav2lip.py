"""The generator and the visual-quality discriminator (Wav2Lip, ACM MM 2020, sections 3.2 and 3.3)."""

import torch
from torch import nn

from models.conv import Conv2d, Conv2dTranspose, PlainConv2d, Size, scaled, stage
from models.inputs import lower_half


class Wav2Lip(nn.Module):
    """Generates the lower half of a face to match a mel window.

    Every encoder stage of the face is handed to the decoder stage of the same size; the speech enters as the
    decoder's first input.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c16, c32, c64, c128, c256, c384, c512 = (scaled(c, width) for c in (16, 32, 64, 128, 256, 384, 512))

        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(*stage(6, c16, 7, 1, 3)),  # 96x96
            nn.Sequential(*stage(c16, c32, 3, 2, 1, residuals=2)),  # 48x48
            nn.Sequential(*stage(c32, c64, 3, 2, 1, residuals=3)),  # 24x24
            nn.Sequential(*stage(c64, c128, 3, 2, 1, residuals=2)),  # 12x12
            nn.Sequential(*stage(c128, c256, 3, 2, 1, residuals=2)),  # 6x6
            nn.Sequential(*stage(c256, c512, 3, 2, 1, residuals=1)),  # 3x3
            nn.Sequential(*stage(c512, c512, 3, 1, 0), *stage(c512, c512, 1, 1, 0)),  # 1x1
        ])  # fmt: skip

        self.audio_encoder = nn.Sequential(
            *stage(1, c32, 3, 1, 1, residuals=2),  # 80x16
            *stage(c32, c64, 3, (3, 1), 1, residuals=2),  # 27x16
            *stage(c64, c128, 3, 3, 1, residuals=2),  # 9x6
            *stage(c128, c256, 3, (3, 2), 1, residuals=1),  # 3x3
            *stage(c256, c512, 3, 1, 0),  # 1x1
            *stage(c512, c512, 1, 1, 0),
        )

        def up(cin: int, cout: int, stride: int = 2, padding: int = 1, residuals: int = 2) -> nn.Sequential:
            first = Conv2dTranspose(cin, cout, 3, stride, padding, output_padding=stride - 1)
            return nn.Sequential(first, *(Conv2d(cout, cout, 3, 1, 1, residual=True) for _ in range(residuals)))

        self.face_decoder_blocks = nn.ModuleList([
            nn.Sequential(Conv2d(c512, c512, 1, 1, 0)),  # 1x1
            up(c512 + c512, c512, stride=1, padding=0, residuals=1),  # 3x3
            up(c512 + c512, c512),  # 6x6
            up(c512 + c256, c384),  # 12x12
            up(c384 + c128, c256),  # 24x24
            up(c256 + c64, c128),  # 48x48
            up(c128 + c32, c64),  # 96x96
        ])  # fmt: skip

        self.output_block = nn.Sequential(
            Conv2d(c64 + c16, c32, 3, 1, 1), nn.Conv2d(c32, 3, kernel_size=1, stride=1, padding=0), nn.Sigmoid()
        )

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """mel [B, 1, 80, 16] in -4..4 with faces [B, 6, 96, 96] in 0..1 -> [B, 3, 96, 96] in 0..1; or, for windows,
        mel [B, T, 1, 80, 16] with faces [B, 6, T, 96, 96] -> [B, 3, T, 96, 96].

        faces are BGR: channels 0-2 the frame with its lower half zeroed, 3-5 the reference frame.
        """
        if faces.dim() == 4:
            return self._frames(mel, faces)
        B, C, T, H, W = faces.shape
        flat_faces = faces.transpose(1, 2).reshape(B * T, C, H, W)
        flat_mel = mel.reshape(B * T, *mel.shape[2:])  # [B·T, 1, 80, 16]
        out = self._frames(flat_mel, flat_faces)
        return out.reshape(B, T, 3, H, W).transpose(1, 2)  # [B, 3, T, H, W]

    def _frames(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            skips.append(faces)
        x = self.audio_encoder(mel)  # [B, 512, 1, 1]
        for block in self.face_decoder_blocks:
            x = torch.cat((block(x), skips.pop()), dim=1)
        return self.output_block(x)


class Wav2Lip_disc_qual(nn.Module):
    """Tells real lower half faces from generated ones, frame by frame."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled(c, width) for c in (32, 64, 128, 256, 512))

        def pair(cin: int, cout: int, kernel_size: int, stride: Size, padding: int) -> nn.Sequential:
            return nn.Sequential(
                PlainConv2d(cin, cout, kernel_size, stride, padding), PlainConv2d(cout, cout, kernel_size, 1, padding)
            )

        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(PlainConv2d(3, c32, 7, 1, 3)),  # 48x96
            pair(c32, c64, 5, (1, 2), 2),  # 48x48
            pair(c64, c128, 5, 2, 2),  # 24x24
            pair(c128, c256, 5, 2, 2),  # 12x12
            pair(c256, c512, 3, 2, 1),  # 6x6
            pair(c512, c512, 3, 2, 1),  # 3x3
            nn.Sequential(PlainConv2d(c512, c512, 3, 1, 0), PlainConv2d(c512, c512, 1, 1, 0)),  # 1x1
        ])  # fmt: skip
        self.binary_pred = nn.Sequential(nn.Conv2d(c512, 1, kernel_size=1, stride=1, padding=0), nn.Sigmoid())

    def forward(self, faces: torch.Tensor, logits: bool = False) -> torch.Tensor:
        """faces [B, 3, T, 96, 96] in 0..1 -> [B·T, 1], the probability of being real, or with `logits` its logit; frame
        0 of every window first."""
        B, C, T, _, W = faces.shape
        x = lower_half(faces).permute(2, 0, 1, 3, 4).reshape(T * B, C, -1, W)
        for block in self.face_encoder_blocks:
            x = block(x)
        head = self.binary_pred[:-1] if logits else self.binary_pred  # without the sigmoid
        return head(x).reshape(T * B, 1)
