"""Time and memory of dubs beside plain code that works in the published way, in one run on one machine.

    python -m benchmarks

writes the table of docs/benchmarks.md: dubs of ten seconds of 1080x1920 with the bundled weights, each a process of its
own, on the CPU and, where there is one, on the GPU. A few minutes on two cores that do nothing else.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

import audio
from hparams import hparams
from media.writer import VideoWriter
from models.published import BUNDLED_GENERATOR
from models.torch_backend import load_network
from tests.portrait import SPEECH, talking_frames

ROOT = Path(__file__).resolve().parent.parent
PAGE, BEGIN, END = ROOT / "docs" / "benchmarks.md", "<!-- table -->\n", "<!-- end of table -->"
FPS, RATE, SECONDS = 25, 16_000, 10
PLAIN_BATCH, FACE_SIZE = 128, 96
SIDE, BOX = 1080, ("570", "850", "370", "590")  # the portrait in the video, pixels; its face there
WATCHED = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""  # a small process between: the system counts the memory of the one that starts another as the other's


def main() -> None:
    lines = ["| what | here | plain | times |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name, "cache"))
        for row in rows(Path(name)):
            print(row, flush=True)
            lines.append(row)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {gpu}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    lines += ["", f"{date.today()}: {machine}; {versions}.", ""]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + END + after, encoding="utf-8")


def rows(folder: Path) -> Iterator[str]:
    """Of the table: seconds, CPU seconds of all threads together, and peak memory of whole processes."""
    video, speech = make_video(folder / "tall.mp4"), folder / "speech.wav"
    audio.save_wav(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), speech, RATE)
    theirs = run("-m", "benchmarks", "plain", BUNDLED_GENERATOR, video, speech, folder / "plain.mp4", *BOX)
    ways = [("torch", "fp32", "cpu"), ("torch", "bf16", "cpu")]
    ways += [("openvino", name, "cpu") for name in ("fp32", "bf16", "int8")] if find_spec("openvino") else []
    ways += [("torch", "auto", "cuda")] if torch.cuda.is_available() else []
    for engine, precision, device in ways:
        flags = ["--engine", engine, "--precision", precision, "--device", device, "--box", *BOX]
        files = ["--face", video, "--audio", speech, "--outfile", folder / "out.mp4"]
        dub = ["inference.py", "--checkpoint_path", BUNDLED_GENERATOR, *files, *flags]
        if engine == "openvino":
            run(*dub)  # weights are converted once
        names = f"10 s of 1080×1920, {engine} {precision}, {device}", "its CPU time", "its peak memory"
        for name, unit, here, plain in zip(names, ("s", "s", "MiB"), run(*dub), theirs, strict=True):
            yield f"| {name} | {figure(here)} {unit} | {figure(plain)} | {plain / here:.1f} |"


def figure(value: float) -> str:
    """Three digits, or all of a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def run(*arguments: Any) -> tuple[float, float, float]:
    """A Python process in the project's folder: its seconds, CPU seconds and MiB of memory at most."""
    command = [sys.executable, "-c", WATCHED, sys.executable, *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - began
    code, cpu, memory = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{arguments}: failed with {code}")
    return seconds, cpu, memory / (1024 if sys.platform == "darwin" else 1) / 1024  # ru_maxrss is in KiB


def make_video(path: Path) -> Path:
    """The portrait, enlarged, in a tall grey picture."""
    picture = np.full((1920, SIDE, 3), 90, np.uint8)
    with VideoWriter(path, Fraction(FPS)) as writer:
        for n, frame in enumerate(talking_frames(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), FPS)):
            picture[420 : 420 + SIDE] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            writer.write(picture.copy(), n / FPS)
    return path


def plain_dub(arguments: list[str]) -> None:
    """Weights, video, sound, result and the face's box: a dub in the way of the published code, with all frames in
    memory, float32, the whole box pasted, and an intermediate file that is encoded again."""
    weights, video, sound, out = map(Path, arguments[:4])
    top, bottom, left, right = map(int, arguments[4:])
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
    for first in range(0, len(mels), PLAIN_BATCH):
        copies = [frame.copy() for frame in frames[first : first + PLAIN_BATCH]][: len(mels) - first]
        faces = np.stack([cv2.resize(frame[top:bottom, left:right], (FACE_SIZE, FACE_SIZE)) for frame in copies])
        masked = faces.copy()
        masked[:, FACE_SIZE // 2 :] = 0
        inputs = torch.FloatTensor(np.concatenate((masked, faces), axis=3).transpose(0, 3, 1, 2) / 255.0)
        with torch.no_grad():
            generated = network(torch.FloatTensor(np.stack(mels[first : first + PLAIN_BATCH])[:, None]), inputs)
        for frame, face in zip(copies, generated.numpy().transpose(0, 2, 3, 1) * 255.0, strict=True):
            frame[top:bottom, left:right] = cv2.resize(face.astype(np.uint8), (right - left, bottom - top))
            writer.write(frame)
    writer.release()
    with av.open(str(middle)) as source, VideoWriter(out, Fraction(FPS), sound) as final:
        for n, picture in enumerate(source.decode(video=0)):
            final.write(picture.to_ndarray(format="bgr24"), n / FPS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["plain"]:
        plain_dub(sys.argv[2:])
    else:
        main()
