"""Rates, times and memory beside plain code that works in the published way, in one run on one machine.

    python -m benchmarks

writes the table of docs/benchmarks.md: training, the generator alone, and dubs of ten seconds of 1080x1920 with the
bundled weights, each a process of its own, on the CPU and, where there is one, on the GPU. Under ten minutes on two
cores that do nothing else.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import audio
from benchmarks import plain
from data.clip import Clip
from data.dataset import ExpertWindows, GeneratorWindows, expert_inputs, generator_inputs
from data.loading import training_loader
from hparams import HParams, hparams
from media.writer import VideoWriter
from models import SyncNet_color, Wav2Lip
from models.inputs import lower_half
from models.published import BUNDLED_GENERATOR
from models.torch_backend import fold_batch_norms
from models.wav2lip import generator_faces
from tests.portrait import SPEECH, talking_frames
from training import losses
from training.network import TrainableNetwork
from utils.devices import Precision

ROOT = Path(__file__).resolve().parent.parent
PAGE, BEGIN, END = ROOT / "docs" / "benchmarks.md", "<!-- table -->\n", "<!-- end of table -->"
FPS, RATE, SECONDS = 25, 16_000, 10
SIDE, BOX = 1080, ("570", "850", "370", "590")  # the portrait in the video, pixels; its face there
RATE_SECONDS = 3.0  # at least, for a rate
CPU = torch.device("cpu")
GENERATOR_WINDOWS, EXPERT_WINDOWS, FACES = 4, 32, 16  # in a batch
WATCHED = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""  # a small process between: the system counts the memory of the one that starts another as the other's


class Row(NamedTuple):
    what: str
    unit: str  # per second: more is better; else less is
    here: float
    plain: float | None = None

    def text(self) -> str:
        if self.plain is None:
            return f"| {self.what} | {figure(self.here)} {self.unit} | | |"
        times = self.here / self.plain if self.unit.endswith("/s") else self.plain / self.here
        return f"| {self.what} | {figure(self.here)} {self.unit} | {figure(self.plain)} | {times:.1f} |"


def figure(value: float) -> str:
    """Three digits, or all of a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["WAV2LIP_CACHE"] = str(folder / "cache")
        rows = []
        for part in (training_rows, generator_rows, dub_rows):
            for row in part(folder):
                print(row.text(), flush=True)
                rows.append(row)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + table(rows) + END + after, encoding="utf-8")


def table(rows: list[Row]) -> str:
    machine = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        machine = names[0].partition(": ")[2] if names else machine
    load = f", load {os.getloadavg()[0]:.1f} at its end" if hasattr(os, "getloadavg") else ""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    where = f"{machine}, {os.cpu_count()} cores{gpu}; Python {platform.python_version()}, torch {torch.__version__}"
    lines = ["| what | here | plain | times |", "|---|---|---|---|", *(row.text() for row in rows)]
    return "\n".join([*lines, "", f"{date.today()}: {where}{load}.", ""])


# Training


def training_rows(folder: Path) -> Iterator[Row]:
    """Full-size networks, by CPU time of all threads together; on a GPU by wall time."""
    hp, device = hparams.override("num_workers=0"), accelerator()
    clip, rng = make_clip(folder / "clip", hp), np.random.default_rng(0)
    loaded = iter(training_loader(GeneratorWindows([clip], hp, training=True), 16, 0))
    yield Row(
        "generator windows from disk, augmented, one loader process", "windows/s",
        rate(lambda: next(loaded), 16), rate(lambda: plain.window(clip.folder, rng, True), 1),
    )  # fmt: skip
    trainings = ("generator", generator_steps, GENERATOR_WINDOWS), ("expert", expert_steps, EXPERT_WINDOWS)
    for what, steps, size in trainings:
        ours, theirs = steps(clip, hp, device, size, rng)
        plain_rate = rate(theirs, size, device)
        yield Row(f"{what} training, batch {size}, {device.type}", "windows/s", rate(ours, size, device), plain_rate)


def generator_steps(clip: Clip, hp: HParams, device: torch.device, size: int, rng: np.random.Generator) -> tuple:
    batches = iter(training_loader(GeneratorWindows([clip], hp, training=True), size, 0))
    trained = TrainableNetwork(Wav2Lip(), hp, Precision("auto", device), 1e-4)

    def ours() -> None:
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(batches).items()}
        faces, target = generator_inputs(batch)
        trained.backward(F.l1_loss(trained(batch["mels"], faces).float(), target))
        trained.update(1, 1)

    network = Wav2Lip().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def theirs() -> None:
        pictures, mels = (part.to(device) for part in plain.windows(clip.folder, rng, size, True))
        target, reference = pictures.permute(0, 4, 1, 2, 3).contiguous().chunk(2, dim=2)
        optimizer.zero_grad()
        F.l1_loss(network(mels, generator_faces(target, reference)), target).backward()
        optimizer.step()

    return ours, theirs


def expert_steps(clip: Clip, hp: HParams, device: torch.device, size: int, rng: np.random.Generator) -> tuple:
    batches = iter(training_loader(ExpertWindows([clip], hp, training=True), size, 0))
    trained = TrainableNetwork(SyncNet_color(), hp, Precision("auto", device), 1e-4, ema=0.998)

    def ours() -> None:
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(batches).items()}
        heard, seen = trained(*expert_inputs(batch))
        trained.backward(losses.cosine_bce(heard, seen, batch["in_sync"]))
        trained.update(1, 1)

    network = SyncNet_color().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def theirs() -> None:
        pictures, mels = (part.to(device) for part in plain.windows(clip.folder, rng, size, False))
        faces = lower_half(pictures, height_axis=-3).permute(0, 1, 4, 2, 3).flatten(1, 2)
        optimizer.zero_grad()
        heard, seen = network(mels[:, 0], faces)
        losses.cosine_bce(heard, seen, torch.ones(size, device=device)).backward()
        optimizer.step()

    return ours, theirs


# Inference


@torch.inference_mode()
def generator_rows(folder: Path) -> Iterator[Row]:
    device = accelerator()
    faces, mels = torch.rand(FACES, 6, 96, 96, device=device), torch.randn(FACES, 1, 80, 16, device=device)
    network, precision = Wav2Lip().eval().to(device), Precision("auto", device)
    plain_rate = rate(lambda: network(mels, faces), FACES, device)
    ours = fold_batch_norms(Wav2Lip().eval(), precision)
    ready = mels.to(precision.dtype), faces.to(precision.dtype).to(memory_format=torch.channels_last)
    here = rate(lambda: ours(*ready), FACES, device)
    yield Row(f"generator at full width, {precision.name}, batch {FACES}, {device.type}", "frames/s", here, plain_rate)


def dub_rows(folder: Path) -> Iterator[Row]:
    """Wall time, CPU time of all threads together, and peak memory of whole processes."""
    video, speech = make_video(folder / "tall.mp4"), make_speech(folder / "speech.wav")
    theirs = run("-m", "benchmarks.plain", BUNDLED_GENERATOR, video, speech, folder / "plain.mp4", *BOX)
    ways = [("torch", "fp32", "cpu"), ("torch", "bf16", "cpu")]
    ways += [("openvino", name, "cpu") for name in ("fp32", "bf16", "int8")] if find_spec("openvino") else []
    ways += [("torch", "auto", "cuda")] if torch.cuda.is_available() else []
    for engine, precision, device in ways:
        flags = ["--engine", engine, "--precision", precision, "--device", device, "--box", *BOX]
        files = ["--face", video, "--audio", speech, "--outfile", folder / "out.mp4"]
        dub = ["inference.py", "--checkpoint_path", BUNDLED_GENERATOR, *files, *flags]
        if engine == "openvino":
            run(*dub)  # weights are prepared once
        ours = run(*dub)
        what = f"10 s of 1080×1920, {engine} {precision}, {device}"
        yield Row(what, "s", ours.seconds, theirs.seconds)
        yield Row("its CPU time", "s", ours.cpu, theirs.cpu)
        yield Row("its peak memory", "MiB", ours.megabytes, theirs.megabytes)


# Footage and measuring


def make_clip(folder: Path, hp: HParams) -> Clip:
    """Three seconds of face crops, as preprocessing leaves them."""
    folder.mkdir()
    wav = audio.load_wav(SPEECH, RATE)[: 3 * RATE]
    for n, frame in enumerate(talking_frames(wav, hp.fps)):
        cv2.imwrite(str(folder / f"{n}.jpg"), frame[57:177, 178:273])
    audio.save_wav(wav, folder / "audio.wav", RATE)
    return Clip(folder, hp)


def make_video(path: Path) -> Path:
    """The portrait, enlarged, in a tall grey picture."""
    picture = np.full((1920, SIDE, 3), 90, np.uint8)
    with VideoWriter(path, Fraction(FPS)) as writer:
        for n, frame in enumerate(talking_frames(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), FPS)):
            picture[420 : 420 + SIDE] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            writer.write(picture.copy(), n / FPS)
    return path


def make_speech(path: Path) -> Path:
    audio.save_wav(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), path, RATE)
    return path


def accelerator() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rate(work: Callable[[], Any], items: int, device: torch.device = CPU) -> float:
    """Items a second of calls of work() for so many items, after two that do not count. Without a GPU time is that of
    the CPU, all threads together, which other programs disturb least."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for _ in range(2):
        work()
    finish(device)
    calls, began = 0, clock()
    while not calls or clock() - began < RATE_SECONDS:
        work()
        finish(device)
        calls += 1
    return calls * items / (clock() - began)


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Run(NamedTuple):
    seconds: float
    cpu: float  # seconds of all threads together
    megabytes: float  # at most in memory


def run(*arguments: Any) -> Run:
    """A Python process in the project's folder."""
    command = [sys.executable, *map(str, arguments)]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", WATCHED, *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - began
    code, cpu, memory = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{arguments}: failed with {code}")
    return Run(seconds, cpu, memory / (1024 if sys.platform == "darwin" else 1) / 1024)  # ru_maxrss is in KiB


if __name__ == "__main__":
    main()
