"""The engines of a dub against each other and the way of the published code, in one run on this machine.

    python -m benchmarks.bench_engines

Weights of full width are the bundled ones with every channel doubled, which draw the same faces and take as long as
any. Of these faces it is also said how far each number format is from single precision, for people that int8 was not
calibrated on: those of FOLDER, a preprocessed folder, where one is given.

    python -m benchmarks.bench_engines FOLDER
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.bench_dubbing import BOX, Run, make_speech, make_tall_video, run
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


def bench_generators(weights: Path, what: str) -> None:
    digest, engines = sha256(weights), {}
    for rows in (0, TOP):
        for engine, precision in CHOICES:
            name = f"{engine} {precision}" + (f", rows from {rows}" if rows else "")
            engines[name], _ = load_generator(weights, digest, Choice(engine, precision, "cpu"), BATCH, rows, "")
    for name, rate in rates(engines).items():
        print(f"{what}, {name:34} {rate:8.1f} frames/s", flush=True)


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


def bench_ten_seconds(folder: Path) -> None:
    video, weights, speech = folder / "tall.mp4", widened(folder / "full.pth"), make_speech(folder / "ten.wav", 10)
    make_tall_video(video)
    plain, plain_cpu = timed("-m", "benchmarks.plain_dub", weights, video, speech, folder / "plain.mp4", *BOX)
    print(f"10 s of 1080x1920, --box, full width\n{'  plain':24} {plain.seconds:6.1f} s {plain_cpu:6.1f} s of CPU "
          f"{plain.megabytes:6.0f} MiB", flush=True)  # fmt: skip
    for engine, precision in CHOICES:
        flags = ["--face", video, "--audio", speech, "--box", *BOX, "--engine", engine, "--precision", precision]
        dub = ["inference.py", "--checkpoint_path", weights, *flags, "--outfile", folder / f"{precision}.mp4"]
        (first, _), (ours, cpu) = timed(*dub), timed(*dub)
        print(f"{f'  {engine} {precision}':24} {ours.seconds:6.1f} s {cpu:6.1f} s of CPU {ours.megabytes:6.0f} MiB "
              f"{plain.seconds / ours.seconds:5.1f} times, by CPU {plain_cpu / cpu:4.1f}; the first time "
              f"{first.seconds:.1f} s", flush=True)  # fmt: skip


def timed(*arguments) -> tuple[Run, float]:
    """A Python process and the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name) / "cache")
        bench_ten_seconds(Path(name))  # first, since a process counts the memory of the one that started it
        if len(sys.argv) > 1:
            bench_quality(Path(sys.argv[1]))
        bench_generators(BUNDLED_GENERATOR, "bundled")
        bench_generators(widened(Path(name) / "full.pth"), "full width")


if __name__ == "__main__":
    main()
