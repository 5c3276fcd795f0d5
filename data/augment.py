"""Augmentation of faces and mels that keeps lips and speech in sync.

All frames of a window and its reference are changed alike, and so are all mels of an item. Slight changes keep the
person; strong ones make another face and another voice, so that the generator has to take them from the reference.
"""

import cv2
import numpy as np

from hparams import HParams

# Slight changes
SHIFT = 4  # pixels either way, as detection is not exact
CONTRAST = 0.15  # at most, as a part
BRIGHTNESS = 20.0  # levels of 255, at most
COLOUR = 0.08  # gain of each channel, at most, as a part

# Strong changes: standard deviations at strength 1, and how often
ROTATION = 5.0  # degrees
SCALE, ASPECT = 0.055, 0.055  # logarithms of factors
ELASTIC_SHIFT = 2.5  # pixels of 96
ELASTIC, ELASTIC_GRID = 2.2, 4  # pixels of 96 that each node of the grid moves; nodes a side
MATRIX = 0.07  # of the 3x3 colour matrix's elements
GAIN, GAMMA, OFFSET = 0.22, 0.22, 0.055  # logarithms of gain and exponent; of 0..1
LIGHT, LIGHT_SHARE = 0.25, 1 / 4  # part by which one side is brighter than the middle
SOFTNESS, SOFTNESS_SHARE = (0.4, 1.1), 1 / 7  # pixels, from and to
GREY_SHARE = 0.04
FORMANTS, FORMANTS_SHARE = 0.06, 0.6  # logarithm of the factor on the mel axis
EQUALISER, EQUALISER_KNOTS = 0.35, 5  # of the mel's -4..4 (12.5 dB each), at points along the mel axis
LEVEL = 0.35  # of the mel's -4..4
NOISE, NOISE_SHARE = (-3.8, -2.0), 0.4  # floor of the mel, from and to
NOISE_SPREAD = 0.25


def augment_pictures(frames: np.ndarray, hp: HParams, rng: np.random.Generator) -> np.ndarray:
    """uint8 BGR [N, S, S, 3] -> the same, all changed alike: slightly, or strongly where hp gives a strength."""
    frames = elastic(frames, rng, hp.augment_shape) if hp.augment_shape else shift(frames, rng)
    if hp.augment_colour:
        return color_jitter(frames, rng, hp.augment_colour)
    return cv2.LUT(frames.reshape(-1, frames.shape[2], 3), random_lut(rng)).reshape(frames.shape)


def shift(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift by whole pixels, which blurs nothing, and mirror half of the time."""
    S = frames.shape[1]
    x, y = (int(d) for d in rng.integers(0, 2 * SHIFT + 1, 2))
    mirrored = rng.integers(2)
    result = np.empty_like(frames)
    for face, out in zip(frames, result, strict=True):
        wide = cv2.copyMakeBorder(face, SHIFT, SHIFT, SHIFT, SHIFT, cv2.BORDER_REPLICATE)
        shifted = wide[y : y + S, x : x + S]
        out[:] = cv2.flip(shifted, 1) if mirrored else shifted
    return result


def random_lut(rng: np.random.Generator) -> np.ndarray:
    """A lookup table that changes contrast, brightness and colour: uint8 [1, 256, 3]."""
    gain = 1 + rng.uniform(-CONTRAST, CONTRAST) + rng.uniform(-COLOUR, COLOUR, 3)
    offset = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    levels = (np.arange(256)[:, None] - 128) * gain + 128 + offset
    return np.clip(levels, 0, 255).round().astype(np.uint8)[None]


def elastic(frames: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Rotate, scale, shift, warp to another face shape, and mirror half of the time."""
    S = frames.shape[1]
    middle = (S - 1) / 2
    x, y = np.meshgrid(np.arange(S, dtype=np.float32) - middle, np.arange(S, dtype=np.float32) - middle)
    x = x * (1 - 2 * int(rng.integers(2)))
    angle = np.deg2rad(rng.normal(0, ROTATION * strength))
    scale, aspect = np.exp(rng.normal(0, (SCALE * strength, ASPECT * strength / 2)))
    across, down = x / (scale * aspect), y / (scale / aspect)
    nodes = rng.normal(0, ELASTIC * strength * S / 96, (ELASTIC_GRID, ELASTIC_GRID, 2)).astype(np.float32)
    displacement = cv2.resize(nodes, (S, S), interpolation=cv2.INTER_CUBIC)
    shift = rng.normal(0, ELASTIC_SHIFT * strength * S / 96, 2)
    from_x = np.cos(angle) * across - np.sin(angle) * down + displacement[..., 0] + shift[0] + middle
    from_y = np.sin(angle) * across + np.cos(angle) * down + displacement[..., 1] + shift[1] + middle
    across, down = cv2.convertMaps(from_x.astype(np.float32), from_y.astype(np.float32), cv2.CV_16SC2)
    edge = cv2.BORDER_REPLICATE
    return np.stack([cv2.remap(face, across, down, cv2.INTER_LINEAR, borderMode=edge) for face in frames])


def color_jitter(frames: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change light and colour; sometimes blur, or turn grey."""
    S = frames.shape[1]
    matrix = np.eye(3) + rng.normal(0, MATRIX * strength, (3, 3))
    if rng.random() < GREY_SHARE * strength:
        matrix = np.full((3, 1), 1.0) @ np.array([[0.114, 0.587, 0.299]])  # BGR, as in BT.601
    gain, gamma = np.exp(rng.normal(0, (GAIN * strength, GAMMA * strength)))
    offset = rng.normal(0, OFFSET * strength)
    levels = (np.linspace(0, 1, 256) ** gamma).astype(np.float32)
    colours = levels[frames] @ (gain * matrix.T).astype(np.float32) + np.float32(offset)  # [N, S, S, 3]
    if rng.random() < LIGHT_SHARE * strength:
        along = np.linspace(-1, 1, S, dtype=np.float32)
        right, bottom = rng.normal(0, LIGHT * strength, 2)
        colours *= np.float32(1) + np.float32(right) * along[:, None] + np.float32(bottom) * along[:, None, None]
    result = np.clip(colours * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < SOFTNESS_SHARE * strength:
        sigma = rng.uniform(*SOFTNESS)
        result = np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in result])
    return result


def perturb_mel(mels: np.ndarray, rng: np.random.Generator, strength: float, highest: float) -> np.ndarray:
    """Move formants, change equaliser and level; sometimes add noise.

    mels: float32 [N, 1, num_mels, columns], all changed alike; highest: hp.max_abs_value.
    """
    bands = mels.shape[-2]
    if rng.random() < FORMANTS_SHARE:
        places = np.clip(np.arange(bands) * np.exp(rng.normal(0, FORMANTS * strength)), 0, bands - 1)
        below = np.minimum(places.astype(int), bands - 2)
        part = (places - below).astype(np.float32)[:, None]
        mels = mels[..., below, :] * (1 - part) + mels[..., below + 1, :] * part
    knots = rng.normal(0, EQUALISER * strength, EQUALISER_KNOTS)
    curve = np.interp(np.linspace(0, 1, bands), np.linspace(0, 1, EQUALISER_KNOTS), knots)
    change = (curve + rng.normal(0, LEVEL * strength)).astype(np.float32)[:, None]
    mels = np.where(mels > -highest, mels + change, mels)  # digital silence stays silent
    if rng.random() < NOISE_SHARE * strength:
        floor = rng.uniform(*NOISE) * highest / 4 + rng.normal(0, NOISE_SPREAD, mels.shape)
        mels = np.maximum(mels, floor.astype(np.float32))
    return np.clip(mels, -highest, highest).astype(np.float32)
