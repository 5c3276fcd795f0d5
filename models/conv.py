"""The convolution blocks that generator and expert are built from. Tensors are [B, C, H, W]."""

import torch
from torch import nn

Size = int | tuple[int, int]  # of kernels and strides: both sides, or height and width


def scaled(channels: int, width: float) -> int:
    """Channel count of a layer in a network `width` times as wide as the published one."""
    return max(1, round(channels * width))


class Conv2d(nn.Module):
    """Convolution, batch norm, ReLU; with `residual` the input is added before the ReLU."""

    def __init__(
        self, cin: int, cout: int, kernel_size: Size, stride: Size, padding: int, residual: bool = False
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(cin, cout, kernel_size, stride, padding), nn.BatchNorm2d(cout))
        self.act = nn.ReLU()
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv_block(x)
        return self.act(out + x if self.residual else out)


class Conv2dTranspose(nn.Module):
    """Transposed convolution, batch norm, ReLU."""

    def __init__(
        self, cin: int, cout: int, kernel_size: Size, stride: Size, padding: int, output_padding: int = 0
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(cin, cout, kernel_size, stride, padding, output_padding), nn.BatchNorm2d(cout)
        )
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv_block(x))


def stage(cin: int, cout: int, kernel_size: Size, stride: Size, padding: int, residuals: int = 0) -> list[nn.Module]:
    """One changing block, then `residuals` 3x3 blocks that keep the shape; a list, to be put in an nn.Sequential."""
    kept = [Conv2d(cout, cout, 3, 1, 1, residual=True) for _ in range(residuals)]
    return [Conv2d(cin, cout, kernel_size, stride, padding), *kept]
