"""The sound as the published SyncNet takes it: 13 mel-frequency cepstral coefficients every 10 ms."""

from functools import lru_cache

import numpy as np
import scipy.fft

SAMPLE_RATE = 16_000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples
BANDS, COEFFICIENTS, LIFTER = 26, 13, 22
PREEMPHASIS = 0.97
BLOCK = 6000  # columns computed at once


def mfcc(wav: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients of float [samples] in -1..1 at SAMPLE_RATE, as the published scorer has them:
    float32 [columns, 13], the first the logarithm of the energy; 100 columns a second."""
    samples = np.asarray(wav, np.float64) * 32768  # the levels of 16-bit sound
    samples[1:] -= PREEMPHASIS * samples[:-1].copy()
    count = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    padded = np.pad(samples, (0, max(0, (count - 1) * HOP + WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    tiny, columns = np.finfo(float).eps, np.empty((count, COEFFICIENTS), np.float32)
    for first in range(0, count, BLOCK):
        block = slice(first, min(first + BLOCK, count))
        power = np.abs(np.fft.rfft(frames[block], N_FFT)) ** 2 / N_FFT
        bands = np.maximum(power @ _mel_bands().T, tiny)
        columns[block] = scipy.fft.dct(np.log(bands), norm="ortho")[:, :COEFFICIENTS] * lifter
        columns[block, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return columns


@lru_cache
def _mel_bands() -> np.ndarray:
    """Triangles between FFT bins that lie evenly on the mel scale, [26, 257]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    edges = np.floor((N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high))
