"""Talking-head clips for tests and benchmarks, made from the public-domain portrait in scikit-image (Eileen Collins).

The head sways, and the jaw opens with the loudness of the speech, so that there is something to learn from.
speech.ogg was spoken by espeak-ng.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import skimage.data

import audio
from media.writer import VideoWriter

SPEECH = Path(__file__).parent / "speech.ogg"
SPEECH_RATE = 16_000
MOUTH = (220.0, 147.0)  # x, y in the portrait
JAW = (26.0, 30.0)  # how far the opening reaches sideways and downwards, pixels
OPENING = 13.0  # pixels at full loudness


def portrait() -> np.ndarray:
    """BGR uint8 [512, 512, 3]."""
    return np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])


def talking_frames(wav: np.ndarray, fps: float, seed: int = 0, turn: float = 2.0) -> Iterator[np.ndarray]:
    """Frames BGR uint8 [512, 512, 3] for as long as the speech (float [samples] at SPEECH_RATE) lasts."""
    image = portrait()
    size = image.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    jaw = np.exp(-(((columns - MOUTH[0]) / JAW[0]) ** 2) - ((rows - MOUTH[1] - JAW[1]) / JAW[1]) ** 2)
    jaw *= rows > MOUTH[1]
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    hop = round(SPEECH_RATE / fps)
    count = len(wav) // hop
    levels = np.sqrt(np.mean(np.square(wav[: count * hop].reshape(count, hop)), axis=1))
    levels = np.clip(levels / (np.percentile(levels, 95) + 1e-6), 0, 1)
    for n, level in enumerate(levels):
        opened = cv2.remap(image, columns, (rows - OPENING * level * jaw).astype(np.float32), cv2.INTER_LINEAR)
        t = n / fps
        angle = turn * np.sin(1.9 * t + phase[0])
        sway = cv2.getRotationMatrix2D((size / 2, size * 0.6), angle, 1.03 + 0.02 * np.sin(0.7 * t + phase[1]))
        sway[0, 2] += 6 * np.sin(1.1 * t + phase[2])
        yield cv2.warpAffine(opened, sway, (size, size), borderMode=cv2.BORDER_REPLICATE)


def make_clip(path: Path, start: float = 0.0, seconds: float | None = None, seed: int = 0, fps: float = 25.0) -> Path:
    """A talking-head video with the speech from `start` on."""
    wav = audio.load_wav(SPEECH, SPEECH_RATE)[round(start * SPEECH_RATE) :]
    wav = wav if seconds is None else wav[: round(seconds * SPEECH_RATE)]
    sound = path.with_suffix(".wav")
    audio.save_wav(wav, sound, SPEECH_RATE)
    with VideoWriter(path, Fraction(fps).limit_denominator(1001), sound) as writer:
        for n, frame in enumerate(talking_frames(wav, fps, seed)):
            writer.write(frame, n / fps)
    sound.unlink()
    return path
