"""A small network that sees what covers the lower part of a face."""

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (32, 48, 64)  # on grids of 24, 12 and 6 cells


class OcclusionNet(nn.Module):
    """A U-Net over cells of 2x2 pixels.

    It is given the face and the median of that person's faces beside it, which shows what belongs there.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = CHANNELS
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
