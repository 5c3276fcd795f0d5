"""Dubbing against the way of the published code, and against what the hardware can do.

Every dub is a process of its own, so that imports count and its peak memory is its own. The long dubs are made with a
narrow network, which changes their time and not their memory.
"""

import os
import tempfile
from pathlib import Path

import torch

from benchmarks.footage import BOX, make_speech, make_tall_video, save
from benchmarks.measuring import CPU, rate, run
from benchmarks.results import Row
from models import Wav2Lip
from models.batched_generator import fold_batch_norms
from utils.devices import Precision

TITLE = "Dubbing"
CONDITIONS = """
Ten seconds of 1080×1920 with the full-size network in PyTorch (`--engine torch`), start-up included; the plain code
keeps all frames in memory, works in fp32 and encodes twice. The long dubs are made with a narrow network, which changes
their time and not their memory. The generator alone: CPU time.
"""
GFLOP_A_FRAME = 7.93  # of the full-size generator
BATCH = 16
LONG_DUBS = 20, 100  # seconds
DETECTOR = ("--face_detector", "retinaface")


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name) / "cache")
        make_tall_video(Path(name) / "tall.mp4")
        return [*ten_seconds(Path(name)), *long_dubs(Path(name)), *generator_alone()]


def ten_seconds(folder: Path) -> list[Row]:
    video, weights, speech = folder / "tall.mp4", save(folder / "full.pth", 1.0), make_speech(folder / "ten.wav", 10)
    dub = ["inference.py", "--checkpoint_path", weights, "--face", video, "--audio", speech, "--engine", "torch"]
    ours = run(*dub, "--outfile", folder / "box.mp4", "--box", *BOX)
    plain = run("-m", "benchmarks.plain_dub", weights, video, speech, folder / "plain.mp4", *BOX)
    first, second = (run(*dub, "--outfile", folder / f"{n}.mp4", *DETECTOR) for n in (1, 2))
    return [
        Row("10 s of 1080×1920, `--box`", "s", ours.seconds, plain.seconds),
        Row("its CPU time, all threads together", "s", ours.cpu, plain.cpu),
        Row("its peak memory", "MiB", ours.megabytes, plain.megabytes),
        Row("the same with faces by RetinaFace", "s", first.seconds),
        Row("a second time, faces known", "s", second.seconds),
    ]


def long_dubs(folder: Path) -> list[Row]:
    dub = ["inference.py", "--checkpoint_path", save(folder / "narrow.pth", 0.125), "--face", folder / "tall.mp4",
           "--engine", "torch", "--box", *BOX, "--preset", "ultrafast"]  # fmt: skip
    rows = []
    for seconds in LONG_DUBS:
        speech = make_speech(folder / f"{seconds}.wav", seconds)
        made = run(*dub, "--audio", speech, "--outfile", folder / "long.mp4")
        rows.append(Row(f"peak memory of {seconds} s", "MiB", made.megabytes))
    return rows


@torch.inference_mode()
def generator_alone() -> list[Row]:
    faces, mels = torch.rand(BATCH, 6, 96, 96), torch.randn(BATCH, 1, 80, 16)
    plain, precision = Wav2Lip().eval(), Precision("auto", CPU)
    ours = fold_batch_norms(Wav2Lip().eval(), precision)
    dtype = next(ours.parameters()).dtype
    ready = faces.to(dtype).to(memory_format=torch.channels_last), mels.to(dtype)
    our_rate = rate(lambda: ours(ready[1], ready[0]), BATCH)
    square = torch.randn(2048, 2048, dtype=dtype)
    product_rate = rate(lambda: square @ square, 1) * 2 * 2048**3 / 1e9 / GFLOP_A_FRAME
    plain_rate = rate(lambda: plain(mels, faces), BATCH)
    return [
        Row(f"generator, {precision.name}, batch {BATCH}", "frames/s", our_rate, plain_rate),
        Row(f"share of the rate of matrix products in {precision.name}", "%", 100 * our_rate / product_rate),
    ]
