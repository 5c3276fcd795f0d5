"""The refiner: a generated face of 96 pixels -> the same face at the footage's resolution, with sharp crops of the same
person as references. The generator underneath stays as it is.

References are fused by attention: at every place the network weighs which of them to take detail from, and on the
coarsest grid also from which part of them (after EfficientSync, 2608.18832, and RealTalk, 2406.18284, both of which
find that better than an average).
"""

import torch
import torch.nn.functional as F
from torch import nn

from models.wav2lip import scaled
from utils.images import lower_half

GRID = 64  # cells across the face, at any size: a cell is 3x3 to 8x8 pixels, stacked on channels
CHANNELS = (48, 96, 128)  # on grids of 64x32, 32x16 and 16x8
HEADS = 4
SLOPE = 0.1  # of the leaky ReLUs


class Refiner(nn.Module):
    """A residual U-Net over the lower half of the face; its output starts at zero, that is at the enlarged face.

    size: pixels of both sides of the result; width: factor on the channel counts.
    """

    def __init__(self, size: int = 256, width: float = 1.0) -> None:
        super().__init__()
        self.size, self.cell = size, size // GRID
        pixels = 3 * self.cell**2  # channels of a picture whose cells are stacked on channels
        fine, middle = scaled(CHANNELS[0], width), scaled(CHANNELS[1], width)
        coarse = HEADS * scaled(CHANNELS[2] // HEADS, width)
        channels = fine, middle, coarse
        self.face_stages = nn.ModuleList([
            _conv(2 * pixels, fine, 1), nn.Sequential(_conv(fine, middle, 2, stride=2), Residual(middle)),
            nn.Sequential(_conv(middle, coarse, 2, stride=2), Residual(coarse)),
        ])  # fmt: skip
        self.reference_stages = nn.ModuleList([
            _conv(pixels, fine, 1), _conv(fine, middle, 2, stride=2), _conv(middle, coarse, 2, stride=2)
        ])  # fmt: skip
        self.search = Search(coarse)
        self.choices = nn.ModuleList(Choice(count) for count in channels)
        self.merges = nn.ModuleList(
            _conv(2 * count + below, count, 1) for count, below in zip(channels, (middle, coarse, coarse), strict=True)
        )
        self.blocks = nn.ModuleList(Residual(count) for count in channels)
        self.output = nn.Conv2d(fine, pixels, 3, 1, 1)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, generated: torch.Tensor, frames: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """generated: [B, 3, 96, 96]; frames: [B, 3, S, S], of which the upper halves alone are used; references:
        [B, K, 3, S, S], any K; all BGR in 0..1 -> [B, 3, S, S], not clipped."""
        B, K = references.shape[:2]
        whole = enlarge(generated, self.size)
        upper = frames[..., : self.size // 2, :].flip(-2)  # so that its pixels lie beside those below the seam
        face = F.pixel_unshuffle(torch.cat((lower_half(whole), upper), dim=1), self.cell)
        reference = F.pixel_unshuffle(lower_half(references).flatten(0, 1), self.cell)
        faces, of_references = [], []
        for face_stage, reference_stage in zip(self.face_stages, self.reference_stages, strict=True):
            face, reference = face_stage(face), reference_stage(reference)
            faces.append(face)
            of_references.append(reference.unflatten(0, (B, K)))
        below = self.search(faces[-1], of_references[-1])
        for level in reversed(range(len(faces))):
            below = F.interpolate(below, size=faces[level].shape[-2:], mode="nearest")
            chosen = self.choices[level](faces[level], of_references[level])
            below = self.blocks[level](self.merges[level](torch.cat((faces[level], chosen, below), dim=1)))
        residual = F.pixel_shuffle(self.output(below), self.cell)  # [B, 3, S/2, S]
        return whole + F.pad(residual.float(), (0, 0, self.size // 2, 0))


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(channels, channels), nn.Conv2d(channels, channels, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.convs(x)


class Choice(nn.Module):
    """Attention over the references at each place: [B, C, h, w] and [B, K, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels, 1) for _ in range(2))

    def forward(self, face: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        B, K, C = references.shape[:3]
        keys = self.key(references.flatten(0, 1)).unflatten(0, (B, K))
        logits = (self.query(face).unsqueeze(1) * keys).sum(dim=2, keepdim=True) / C**0.5  # [B, K, 1, h, w]
        return (logits.softmax(dim=1) * references).sum(dim=1)


class Search(nn.Module):
    """Attention of every place to all places of all references: [B, C, h, w] and [B, K, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.place = nn.Conv2d(2, channels, 1)  # so that it can look near by

    def forward(self, face: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        (B, K, C, h, w) = references.shape
        place = self.place(_coordinates(h, w).to(face))
        flat = references.flatten(0, 1)
        query = _tokens(self.query(face) + place)
        key, value = (
            _tokens(features).unflatten(0, (B, K)).transpose(1, 2).flatten(2, 3)  # [B, heads, K·h·w, C/heads]
            for features in (self.key(flat) + place, self.value(flat))
        )
        found = F.scaled_dot_product_attention(query, key, value)  # [B, heads, h·w, C/heads]
        return found.transpose(2, 3).reshape(B, C, h, w)


def enlarge(faces: torch.Tensor, size: int) -> torch.Tensor:
    """Faces [B, 3, h, w] at `size` pixels, bicubic, in single precision."""
    return F.interpolate(faces.float(), (size, size), mode="bicubic", align_corners=False)


def _conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    padding = (kernel - stride + 1) // 2
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, padding), nn.LeakyReLU(SLOPE))


def _tokens(features: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] -> [B, heads, h·w, C/heads]."""
    return features.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3)


def _coordinates(h: int, w: int) -> torch.Tensor:
    """[1, 2, h, w] in -1..1."""
    rows, columns = torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
