"""How like one picture is to another: L1, PSNR, SSIM."""

import numpy as np
from skimage.metrics import structural_similarity

from models.inputs import lower_half

HIGHEST_PSNR = 100.0  # dB, of equal pictures


def likeness(generated: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """L1 (of 0..1), PSNR in dB and SSIM of two pictures, uint8 BGR [H, W, 3]."""
    difference = (generated.astype(np.float32) - true) / 255
    psnr = -10 * np.log10(max(float(np.square(difference).mean()), 10 ** (-HIGHEST_PSNR / 10)))
    return float(np.abs(difference).mean()), psnr, float(structural_similarity(generated, true, channel_axis=2))


def mouth_likeness(generated: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Means over the lower halves of faces, uint8 BGR [N, S, S, 3]."""
    pairs = zip(lower_half(generated, height_axis=-3), lower_half(true, height_axis=-3), strict=True)
    l1, _, ssim = np.mean([likeness(a, b) for a, b in pairs], axis=0)
    return {"mouth_l1": float(l1), "mouth_ssim": float(ssim)}
