"""Dub a video with an exported generator, without PyTorch: the least that a dub is, to build on.

    python weights.py export checkpoints/wav2lip_small.safetensors generator.xml --format openvino
    python -m examples.dub_without_torch generator.xml talk.mp4 speech.wav out.mp4 TOP BOTTOM LEFT RIGHT

The face, its chin included, is in one box (pixels) in all frames; the lower half of the box is replaced.
"""

import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

import audio
from media.writer import VideoWriter
from models.openvino_backend import core

SIZE, BATCH, RATE = 96, 16, 16_000  # pixels of a face, frames drawn at once, samples a second


def main(model: str, video: str, speech: str, out: str, box: tuple[slice, slice]) -> None:
    network = core().compile_model(model, "CPU")
    mel = audio.melspectrogram(audio.load_wav(speech, RATE))  # [80, columns], 80 columns a second
    columns = mel.shape[1]
    with av.open(video) as source:
        fps = Fraction(source.streams.video[0].average_rate)
        shown = islice(enumerate(source.decode(video=0)), int(columns / 80 * fps))
        with VideoWriter(Path(out), fps, Path(speech)) as writer:
            while batch := list(islice(shown, BATCH)):
                frames = [frame.to_ndarray(format="bgr24") for _, frame in batch]
                faces = np.stack([cv2.resize(frame[box], (SIZE, SIZE)) for frame in frames])
                starts = [audio.dub_mel_start(number / float(fps), columns) for number, _ in batch]
                mels = np.stack([mel[None, :, start : start + 16] for start in starts])
                generated = network({"faces": faces, "mels": mels})["generated"]
                for (number, _), frame, face in zip(batch, frames, generated, strict=True):
                    height, width = frame[box].shape[:2]
                    large = cv2.resize(face, (width, height), interpolation=cv2.INTER_CUBIC)
                    frame[box][height // 2 :] = large[height // 2 :]
                    writer.write(frame, number / float(fps))


if __name__ == "__main__":
    top, bottom, left, right = (int(number) for number in sys.argv[5:9])
    main(*sys.argv[1:5], box=(slice(top, bottom), slice(left, right)))
