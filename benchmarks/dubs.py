"""Dubbing against the way of the published code, and against what the hardware can do, in one run on this machine.

    make bench                 (or: python -m benchmarks.bench_dubbing)

Every dub is a process of its own, so that imports count and its peak memory is its own. Weights are random: they take
as long as any. The long dubs are made with a narrow network, which changes their time and not their memory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

import audio
from benchmarks.bench import rate, report
from hparams import hparams
from media.writer import VideoWriter
from models import Wav2Lip
from models.batched_generator import fold_batch_norms
from tests.portrait import SPEECH, talking_frames
from utils.devices import Precision

ROOT = Path(__file__).resolve().parent.parent
FPS, RATE = 25, 16_000
BOX = ("570", "850", "370", "590")  # of the portrait's face in the tall video
GFLOP_A_FRAME = 7.93  # of the full-size generator


class Run(NamedTuple):
    seconds: float
    megabytes: float  # at most in memory
    record: dict


def run(*arguments) -> Run:
    """A Python process in the project's folder."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments}: failed with {process.returncode}")
    unit = 1024 if sys.platform == "darwin" else 1  # of ru_maxrss, in KiB
    record = Path(f"{arguments[arguments.index('--outfile') + 1]}.json") if "--outfile" in arguments else None
    content = json.loads(record.read_text(encoding="utf-8")) if record else {}
    return Run(time.perf_counter() - began, usage.ru_maxrss / unit / 1024, content)


def make_tall_video(path: Path) -> None:
    """Ten seconds of 1080x1920 with the portrait."""
    wav = audio.load_wav(SPEECH, RATE)
    wav = np.resize(wav, 10 * RATE)
    with VideoWriter(path, Fraction(FPS)) as writer:
        for n, frame in enumerate(talking_frames(wav, FPS)):
            picture = np.full((1920, 1080, 3), 90, np.uint8)
            picture[420:1500] = cv2.resize(frame, (1080, 1080), interpolation=cv2.INTER_CUBIC)
            writer.write(picture, n / FPS)


def make_speech(path: Path, seconds: int) -> Path:
    audio.save_wav(np.resize(audio.load_wav(SPEECH, RATE), seconds * RATE), path, RATE)
    return path


def save(path: Path, width: float) -> Path:
    torch.manual_seed(0)
    hp = hparams.override(f"width={width}").to_dict()
    torch.save({"state_dict": Wav2Lip(width).state_dict(), "hparams": hp}, path)
    return path


@torch.inference_mode()
def bench_generator(device: torch.device, batch: int) -> None:
    faces, mels = torch.rand(batch, 6, 96, 96, device=device), torch.randn(batch, 1, 80, 16, device=device)
    plain = Wav2Lip().eval().to(device)
    precision = Precision("auto", device)
    ours = fold_batch_norms(Wav2Lip().eval(), precision)
    dtype = next(ours.parameters()).dtype
    ready = faces.to(dtype).to(memory_format=torch.channels_last), mels.to(dtype)
    our_rate = rate(lambda: ours(ready[1], ready[0]), batch)
    report(f"generator, {precision.name}, batch {batch}", "frames/s", our_rate, rate(lambda: plain(mels, faces), batch))
    square = torch.randn(2048, 2048, device=device, dtype=dtype)
    product_rate = rate(lambda: square @ square, 1) * 2 * 2048**3 / 1e9 / GFLOP_A_FRAME
    print(f"{'  of the rate of matrix products':50} {our_rate / product_rate:10.0%}", flush=True)


def bench_ten_seconds(folder: Path) -> None:
    video, weights = folder / "tall.mp4", save(folder / "full.pth", 1.0)
    make_tall_video(video)
    speech = make_speech(folder / "ten.wav", 10)
    dub = ["inference.py", "--checkpoint_path", weights, "--face", video, "--audio", speech]
    ours = run(*dub, "--outfile", folder / "box.mp4", "--box", *BOX)
    plain = run("-m", "benchmarks.plain_dub", weights, video, speech, folder / "plain.mp4", *BOX)
    print(f"{'10 s of 1080x1920, --box':50} {ours.seconds:10.1f} s          plain {plain.seconds:10.1f}   "
          f"{plain.seconds / ours.seconds:7.1f} times", flush=True)  # fmt: skip
    print(f"{'  peak memory':50} {ours.megabytes:10.0f} MiB        plain {plain.megabytes:10.0f}   "
          f"{plain.megabytes / ours.megabytes:7.1f} times", flush=True)  # fmt: skip
    first, second = (run(*dub, "--outfile", folder / f"{n}.mp4", "--face_detector", "retinaface") for n in (1, 2))
    print(f"{'  with faces by RetinaFace':50} {first.seconds:10.1f} s, the same again {second.seconds:.1f} s, "
          f"{second.record['busy']['faces'] / second.seconds:.1%} of it for faces", flush=True)  # fmt: skip


def bench_memory(folder: Path) -> None:
    video, weights = folder / "tall.mp4", save(folder / "narrow.pth", 0.125)
    dub = ["inference.py", "--checkpoint_path", weights, "--face", video, "--box", *BOX, "--preset", "ultrafast"]
    one, ten = (
        run(*dub, "--audio", make_speech(folder / f"{minutes}.wav", 60 * minutes), "--outfile", folder / "long.mp4")
        for minutes in (1, 10)
    )
    print(f"{'peak memory of 10 minutes of 1080x1920':50} {ten.megabytes:10.0f} MiB     one minute "
          f"{one.megabytes:10.0f}   {ten.megabytes / one.megabytes:7.2f} times", flush=True)  # fmt: skip


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name) / "cache")
        bench_ten_seconds(Path(name))
        bench_memory(Path(name))
    bench_generator(device, 128 if device.type == "cuda" else 16)


if __name__ == "__main__":
    main()
