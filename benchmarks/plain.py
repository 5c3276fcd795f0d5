"""A dub in the way of the published code, to compare with.

    python -m benchmarks.plain WEIGHTS VIDEO SOUND OUT TOP BOTTOM LEFT RIGHT

All frames in memory, float32, the whole box pasted, an intermediate file that is encoded again.
"""

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

import audio
from hparams import hparams
from media.writer import VideoWriter
from models.torch_backend import load_network

BATCH, SIZE, FPS = 128, 96, 25


def dub(weights: Path, video: Path, sound: Path, out: Path, box: list[int]) -> None:
    top, bottom, left, right = box
    reader, frames = cv2.VideoCapture(str(video)), []
    while (read := reader.read())[0]:
        frames.append(read[1])
    mel = audio.melspectrogram(audio.load_wav(sound, hparams.sample_rate))
    starts = [int(n * 80 / FPS) for n in range(len(frames))]
    mels = [mel[:, start : start + 16] for start in starts if start + 16 <= mel.shape[1]]
    network, _ = load_network(weights, "generator")
    middle = out.with_name("middle.avi")
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(middle), cv2.VideoWriter.fourcc(*"DIVX"), FPS, (width, height))
    for first in range(0, len(mels), BATCH):
        copies = [frame.copy() for frame in frames[first : first + BATCH]][: len(mels) - first]
        faces = np.stack([cv2.resize(frame[top:bottom, left:right], (SIZE, SIZE)) for frame in copies])
        masked = faces.copy()
        masked[:, SIZE // 2 :] = 0
        inputs = torch.FloatTensor(np.concatenate((masked, faces), axis=3).transpose(0, 3, 1, 2) / 255.0)
        with torch.no_grad():
            generated = network(torch.FloatTensor(np.stack(mels[first : first + BATCH])[:, None]), inputs)
        for frame, face in zip(copies, generated.numpy().transpose(0, 2, 3, 1) * 255.0, strict=True):
            frame[top:bottom, left:right] = cv2.resize(face.astype(np.uint8), (right - left, bottom - top))
            writer.write(frame)
    writer.release()
    with av.open(str(middle)) as source, VideoWriter(out, Fraction(FPS), sound) as final:
        for n, picture in enumerate(source.decode(video=0)):
            final.write(picture.to_ndarray(format="bgr24"), n / FPS)


if __name__ == "__main__":
    weights, video, sound, out = map(Path, sys.argv[1:5])
    dub(weights, video, sound, out, [int(value) for value in sys.argv[5:9]])
