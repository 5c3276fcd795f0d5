"""The generator (Wav2Lip, ACM MM 2020, section 3.2), and the convolution blocks that the lip-sync expert has, too."""

import torch
import torch.nn.functional as F
from torch import nn

Weights = dict[str, torch.Tensor]  # by name, as of a state_dict
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


def to_floats(pictures: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """uint8 [..., H, W, 3] -> [..., 3, H, W] in 0..1, in dtype or float32."""
    channels_first = pictures.movedim(-1, -3)
    return (channels_first.to(dtype) if dtype else channels_first.float()) / 255


def generator_faces(frames: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """Frames with their lower halves zeroed, then the references, on channels, as the generator takes them.

    frames, references: [B, 3, (T,) S, S] in 0..1 -> [B, 6, (T,) S, S].
    """
    size = frames.shape[-2]
    masked = F.pad(frames[..., : size // 2, :], (0, 0, 0, size - size // 2))
    return torch.cat((masked, references), dim=1)


def amplified(weights: Weights, motion: float, contrast: float) -> Weights:
    """A generator's weights for mouths that move more and are less pale: the scales of batch norms times a gain, of the
    last one that the speech passes (motion) and of all in the decoder (contrast, which also adds motion). 1 changes
    nothing.

    A generator that is trained to differ little draws the mean of what is likely, which moves less than any of it and
    is paler. What a feature differs by from its mean over the training data is what these scales multiply, so that the
    mean stays. Speech synthesis restores variance in this way (global variance: Toda and Tokuda, 2007).
    """
    norms = [name for name in weights if name.endswith(".conv_block.1.weight")]
    of_speech = [name for name in norms if name.startswith("audio_encoder.")]  # audio_encoder.0.conv_block.1.weight ...
    gains = {name: contrast for name in norms if name.startswith(("face_decoder_blocks.", "output_block."))}
    gains[max(of_speech, key=lambda name: int(name.split(".")[1]))] = motion  # in files their order is another
    return {name: weight * gains[name] if name in gains else weight for name, weight in weights.items()}


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
