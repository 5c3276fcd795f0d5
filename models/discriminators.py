"""Networks that judge faces: whether lower halves are real (the published discriminator and one of patches), and which
pixels are covered."""

import torch
import torch.nn.functional as F
from torch import nn

from models.wav2lip import Size, scaled
from utils.images import lower_half

PATCH_CHANNELS = (48, 96, 192, 192)  # about 0.7 million weights
PATCH_DETAIL_GAIN = 10.0
PATCH_SLOPE = 0.2  # of the leaky ReLUs
OCCLUSION_CHANNELS = (32, 48, 64)  # on grids of 24, 12 and 6 cells


class PlainConv2d(nn.Module):
    """Convolution and leaky ReLU without a norm, as the published discriminator has it."""

    def __init__(self, cin: int, cout: int, kernel_size: Size, stride: Size, padding: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(cin, cout, kernel_size, stride, padding))
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv_block(x))


class Wav2Lip_disc_qual(nn.Module):
    """The published visual-quality discriminator (Wav2Lip, ACM MM 2020, section 3.3): judges frame by frame."""

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


class PatchDiscriminator(nn.Module):
    """Lower halves of faces -> a logit of being real for each patch, and the features it judges by.

    It sees each picture and, ten times as strong, its difference from the mean of its 3x3 neighbourhoods: from plain
    pixels alone it did not learn to tell generated mouths in 200 steps.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = PATCH_CHANNELS
        self.blocks = nn.ModuleList([
            _patch_block(6, first, 4, 2),  # 24x48
            _patch_block(first, second, 4, 2),  # 12x24
            _patch_block(second, third, 4, 2),  # 6x12
            _patch_block(third, fourth, 3, 1),
        ])  # fmt: skip
        self.patch_logits = nn.Conv2d(fourth, 1, 1)

    def forward(self, halves: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """halves [B, 3, 48, 96] in 0..1 -> logits [B, 1, 6, 12] and the features of each block."""
        detail = halves - F.avg_pool2d(halves, 3, 1, 1, count_include_pad=False)
        x = torch.cat((2 * halves - 1, PATCH_DETAIL_GAIN * detail), dim=1)
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return self.patch_logits(x), features


def _patch_block(cin: int, cout: int, kernel_size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, kernel_size, stride, 1), nn.LeakyReLU(PATCH_SLOPE))


class OcclusionNet(nn.Module):
    """A U-Net over cells of 2x2 pixels: what covers the lower part of a face. Beside the face it sees the median of the
    person's faces, which shows what belongs there."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = OCCLUSION_CHANNELS
        self.down = nn.ModuleList([
            nn.Sequential(_conv(24, fine), _conv(fine, fine)),
            nn.Sequential(_conv(fine, middle, 2), _conv(middle, middle)),
            nn.Sequential(_conv(middle, coarse, 2), _conv(coarse, coarse), _conv(coarse, coarse)),
        ])  # fmt: skip
        self.up = nn.ModuleList([_conv(coarse + middle, middle), _conv(middle + fine, fine)])
        self.occlusion_output = nn.Conv2d(fine, 4, 3, 1, 1)

    def forward(self, faces: torch.Tensor, medians: torch.Tensor) -> torch.Tensor:
        """Both [B, 3, 48, 48], BGR in 0..1 -> [B, 48, 48]: logits of a pixel being covered."""
        x = F.pixel_unshuffle(torch.cat((faces, medians), dim=1) - 0.5, 2)  # [B, 24, 24, 24]
        levels = []
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        for stage, beside in zip(self.up, (levels[1], levels[0]), strict=True):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2.0), beside), dim=1))
        return F.pixel_shuffle(self.occlusion_output(x), 2)[:, 0]


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())
