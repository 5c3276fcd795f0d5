"""What is measured on: the portrait of the tests as a clip and as a tall video, speech, weights."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

import audio
from data.clip import Clip
from hparams import HParams, hparams
from media.writer import VideoWriter
from models import Wav2Lip
from tests.portrait import SPEECH, talking_frames

FPS, RATE = 25, 16_000
SIDE = 1080  # pixels of the portrait in the videos
BOX = ("570", "850", "370", "590")  # of the portrait's face in the tall video
WIDE_BOX = ("150", "430", "790", "1010")  # in the wide one


def make_clip(folder: Path, hp: HParams) -> Clip:
    """Three seconds of face crops, as preprocessing leaves them."""
    wav = audio.load_wav(SPEECH, hp.sample_rate)[: 3 * hp.sample_rate]
    for n, frame in enumerate(talking_frames(wav, hp.fps)):
        cv2.imwrite(str(folder / f"{n}.jpg"), frame[57:177, 178:273])
    audio.save_wav(wav, folder / "audio.wav", hp.sample_rate)
    return Clip(folder, hp)


def make_tall_video(path: Path) -> None:
    """Ten seconds of 1080x1920 with the portrait, whose face is in BOX."""
    make_video(path, (1920, 1080), (420, 0), 10)


def make_video(path: Path, size: tuple[int, int], corner: tuple[int, int], seconds: float) -> None:
    """The portrait, SIDE pixels large, in a grey picture. size: height, width; corner: top, left of the portrait."""
    wav = np.resize(audio.load_wav(SPEECH, RATE), round(seconds * RATE))
    (top, left), picture = corner, np.full((*size, 3), 90, np.uint8)
    with VideoWriter(path, Fraction(FPS)) as writer:
        for n, frame in enumerate(talking_frames(wav, FPS)):
            enlarged = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            picture[top : top + SIDE, left : left + SIDE] = enlarged
            writer.write(picture.copy(), n / FPS)


def make_speech(path: Path, seconds: float) -> Path:
    audio.save_wav(np.resize(audio.load_wav(SPEECH, RATE), round(seconds * RATE)), path, RATE)
    return path


def save(path: Path, width: float) -> Path:
    """A generator with random weights, which take as long as any."""
    torch.manual_seed(0)
    hp = hparams.override(f"width={width}").to_dict()
    torch.save({"state_dict": Wav2Lip(width).state_dict(), "hparams": hp}, path)
    return path
