"""The engines of a dub against each other and the way of the published code, in one run on this machine.

Weights of full width are the bundled ones with every channel doubled, which draw the same faces and take as long as
any. How far each number format is from single precision, for the people of a preprocessed folder, on whom int8 was not
calibrated:

    python -m benchmarks.engines FOLDER
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.footage import BOX, make_speech, make_tall_video
from benchmarks.measuring import run
from benchmarks.results import Row
from data.clip import Clip
from dubbing.paste import first_row
from hparams import hparams
from models import Wav2Lip
from models.engines.choice import Choice
from models.engines.generator import GeneratorEngine, load_generator
from models.engines.quantization import calibration_set, psnr
from models.published import BUNDLED_GENERATOR
from utils import weight_files
from utils.files import sha256

TITLE = "Rates of the engines"
CONDITIONS = """
The engines of `--engine` in turns, the best of three rounds each, batch 16, wall time. "Rows from": without those that
`--paste soft` does not show. Full width: the bundled weights with every channel doubled, which draw the same faces. The
dubs: ten seconds of 1080×1920 with these, start-up included, weights prepared before.
"""
CHOICES = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8")]
ROUNDS, BATCH = 3, 16
TOP = first_row("soft", hparams.img_size)


def rates(engines: dict[str, GeneratorEngine]) -> dict[str, float]:
    """Frames a second of each: the best of some rounds, in which all have their turn, so that what else the machine
    does hits them alike."""
    faces, mels = (array[:BATCH] for array in calibration_set())
    best = dict.fromkeys(engines, 0.0)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            engine(faces, mels)
            began, calls = time.perf_counter(), 0
            while time.perf_counter() - began < 1:
                engine(faces, mels)
                calls += 1
            best[name] = max(best[name], calls * BATCH / (time.perf_counter() - began))
    return best


def widened(path: Path) -> Path:
    """The bundled generator with every channel twice, each with half of the weight: the published width."""
    narrow = weight_files.read(BUNDLED_GENERATOR)["state_dict"]
    network = Wav2Lip()
    wide, transposed = (
        network.state_dict(),
        {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.ConvTranspose2d)},
    )
    for name, tensor in wide.items():
        values = narrow[name].float()
        for axis, (many, few) in enumerate(zip(tensor.shape, values.shape, strict=True)):
            values = values.repeat_interleave(many // few, dim=axis)
        inputs = 0 if name in transposed else 1  # the axis
        if values.dim() == 4:
            values = values * (narrow[name].shape[inputs] / values.shape[inputs])
        wide[name] = values.to(tensor.dtype)
    torch.save({"state_dict": wide, "hparams": hparams.to_dict()}, path)
    return path


def bench_generators(weights: Path, what: str) -> list[Row]:
    digest, engines = sha256(weights), {}
    for rows in (0, TOP):
        for engine, precision in CHOICES:
            name = f"{engine} {precision}" + (f", rows from {rows}" if rows else "")
            engines[name], _ = load_generator(weights, digest, Choice(engine, precision, "cpu"), BATCH, rows, "")
    return [Row(f"{what}, {name}", "frames/s", rate) for name, rate in rates(engines).items()]


def bench_quality(folder: Path) -> None:
    clips = [Clip(path.parent, hparams) for path in sorted(folder.glob("*/*/0.jpg"))]
    faces = np.concatenate([clip.faces[::10] for clip in clips])
    rng = np.random.default_rng(0)
    starts = [(clips[n % len(clips)].mel, rng.random()) for n in range(len(faces))]
    mels = np.stack([mel[(at := int(place * (len(mel) - 16))) : at + 16].T[None] for mel, place in starts])
    digest, drawn = sha256(BUNDLED_GENERATOR), {}
    for engine, precision in CHOICES:
        made, _ = load_generator(BUNDLED_GENERATOR, digest, Choice(engine, precision, "cpu"), BATCH, TOP, "")
        drawn[engine, precision] = made(faces, mels)[:, TOP:]
    for (engine, precision), generated in drawn.items():
        found = psnr(drawn[CHOICES[0]], generated)
        print(
            f"{engine} {precision:5} {found.mean():6.1f} dB, the worst of {len(found)} {found.min():6.1f}", flush=True
        )


def bench_ten_seconds(folder: Path) -> list[Row]:
    video, weights, speech = folder / "tall.mp4", widened(folder / "full.pth"), make_speech(folder / "ten.wav", 10)
    make_tall_video(video)
    plain, rows = run("-m", "benchmarks.plain_dub", weights, video, speech, folder / "plain.mp4", *BOX), []
    for engine, precision in CHOICES:
        flags = ["--face", video, "--audio", speech, "--box", *BOX, "--engine", engine, "--precision", precision]
        dub = ["inference.py", "--checkpoint_path", weights, *flags, "--outfile", folder / f"{precision}.mp4"]
        first = run(*dub)
        ours = run(*dub) if engine == "openvino" else first
        rows += [
            Row(f"dub, {engine} {precision}", "s", ours.seconds, plain.seconds),
            Row("its CPU time, all threads together", "s", ours.cpu, plain.cpu),
            Row("its peak memory", "MiB", ours.megabytes, plain.megabytes),
        ]
        if engine == "openvino":
            rows.append(Row("the first time, when weights are prepared", "s", first.seconds))
    return rows


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name) / "cache")
        rows = bench_ten_seconds(Path(name))
        rows += bench_generators(BUNDLED_GENERATOR, "bundled")
        return rows + bench_generators(Path(name) / "full.pth", "full width")


if __name__ == "__main__":
    bench_quality(Path(sys.argv[1]))
