"""Rates, times and memory beside plain code that works in the published way, in one run on one machine.

    python -m benchmarks

writes the table of docs/benchmarks.md: generator training, the generator alone, and dubs of ten seconds of 1080x1920
with the bundled weights, each a process of its own, on the CPU and, where there is one, on the GPU. Under ten minutes
on two cores that do nothing else.
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
from data.dataset import GeneratorWindows, generator_inputs
from data.loading import training_loader
from hparams import hparams
from media.writer import VideoWriter
from models import Wav2Lip
from models.published import BUNDLED_GENERATOR
from models.torch_backend import fold_batch_norms
from models.wav2lip import generator_faces
from tests.portrait import SPEECH, talking_frames
from training.network import TrainableNetwork
from utils.devices import Precision

ROOT = Path(__file__).resolve().parent.parent
PAGE, BEGIN, END = ROOT / "docs" / "benchmarks.md", "<!-- table -->\n", "<!-- end of table -->"
FPS, RATE, SECONDS = 25, 16_000, 10
SIDE, BOX = 1080, ("570", "850", "370", "590")  # the portrait in the video, pixels; its face there
WINDOWS, FACES = 4, 16  # in a batch
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RATE_SECONDS = 3.0  # at least, for a rate
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
    plain: float

    def text(self) -> str:
        times = self.here / self.plain if self.unit.endswith("/s") else self.plain / self.here
        here, plain = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (self.here, self.plain))
        return f"| {self.what} | {here} {self.unit} | {plain} | {times:.1f} |"


def main() -> None:
    lines = ["| what | here | plain | times |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        os.environ["WAV2LIP_CACHE"] = str(Path(name, "cache"))
        for part in (training_rows, generator_rows, dub_rows):
            for row in part(Path(name)):
                print(row.text(), flush=True)
                lines.append(row.text())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {gpu}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    lines += ["", f"{date.today()}: {machine}; {versions}.", ""]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + END + after, encoding="utf-8")


def training_rows(folder: Path) -> Iterator[Row]:
    """Steps of the generator at full width, batches from disk included."""
    hp, rng = hparams.override("num_workers=0"), np.random.default_rng(0)
    clip = make_clip(folder / "clip")
    batches = iter(training_loader(GeneratorWindows([clip], hp, training=True), WINDOWS, 0))
    trained = TrainableNetwork(Wav2Lip(), hp, Precision("auto", DEVICE), 1e-4)

    def ours() -> None:
        batch = {name: tensor.to(DEVICE, non_blocking=True) for name, tensor in next(batches).items()}
        faces, target = generator_inputs(batch)
        trained.backward(F.l1_loss(trained(batch["mels"], faces).float(), target))
        trained.update(1, 1)

    network = Wav2Lip().to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def theirs() -> None:
        pictures, mels = (part.to(DEVICE) for part in plain.windows(clip.folder, rng, WINDOWS))
        target, reference = pictures.permute(0, 4, 1, 2, 3).contiguous().chunk(2, dim=2)
        optimizer.zero_grad()
        F.l1_loss(network(mels, generator_faces(target, reference)), target).backward()
        optimizer.step()

    what = f"generator training, batch {WINDOWS}, {DEVICE.type}"
    yield Row(what, "windows/s", rate(ours, WINDOWS), rate(theirs, WINDOWS))


@torch.inference_mode()
def generator_rows(folder: Path) -> Iterator[Row]:
    faces, mels = torch.rand(FACES, 6, 96, 96, device=DEVICE), torch.randn(FACES, 1, 80, 16, device=DEVICE)
    network, precision = Wav2Lip().eval().to(DEVICE), Precision("auto", DEVICE)
    plain_rate = rate(lambda: network(mels, faces), FACES)
    ours = fold_batch_norms(Wav2Lip().eval(), precision)
    ready = mels.to(precision.dtype), faces.to(precision.dtype).to(memory_format=torch.channels_last)
    what = f"generator at full width, {precision.name}, batch {FACES}, {DEVICE.type}"
    yield Row(what, "frames/s", rate(lambda: ours(*ready), FACES), plain_rate)


def rate(work: Callable[[], Any], items: int) -> float:
    """Items a second of calls of work() for so many items, after two that do not count. Without a GPU time is that of
    the CPU, all threads together, which other programs disturb least."""
    clock = time.process_time if DEVICE.type == "cpu" else time.perf_counter
    for _ in range(2):
        work()
    calls, began = 0, clock()
    while not calls or clock() - began < RATE_SECONDS:
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        calls += 1
    return calls * items / (clock() - began)


def dub_rows(folder: Path) -> Iterator[Row]:
    """Wall time, CPU time of all threads together, and peak memory of whole processes."""
    video, speech = make_video(folder / "tall.mp4"), folder / "speech.wav"
    audio.save_wav(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), speech, RATE)
    theirs = run("-m", "benchmarks.plain", BUNDLED_GENERATOR, video, speech, folder / "plain.mp4", *BOX)
    ways = [("torch", "fp32", "cpu"), ("torch", "bf16", "cpu")]
    ways += [("openvino", name, "cpu") for name in ("fp32", "bf16", "int8")] if find_spec("openvino") else []
    ways += [("torch", "auto", "cuda")] if torch.cuda.is_available() else []
    for engine, precision, device in ways:
        flags = ["--engine", engine, "--precision", precision, "--device", device, "--box", *BOX]
        files = ["--face", video, "--audio", speech, "--outfile", folder / "out.mp4"]
        dub = ["inference.py", "--checkpoint_path", BUNDLED_GENERATOR, *files, *flags]
        if engine == "openvino":
            run(*dub)  # weights are converted once
        ours = run(*dub)
        yield Row(f"10 s of 1080×1920, {engine} {precision}, {device}", "s", ours[0], theirs[0])
        yield Row("its CPU time", "s", ours[1], theirs[1])
        yield Row("its peak memory", "MiB", ours[2], theirs[2])


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


def make_clip(folder: Path) -> Clip:
    """Three seconds of face crops, as preprocessing leaves them."""
    folder.mkdir()
    wav = audio.load_wav(SPEECH, RATE)[: 3 * RATE]
    for n, frame in enumerate(talking_frames(wav, FPS)):
        cv2.imwrite(str(folder / f"{n}.jpg"), frame[57:177, 178:273])
    audio.save_wav(wav, folder / "audio.wav", RATE)
    return Clip(folder, hparams)


def make_video(path: Path) -> Path:
    """The portrait, enlarged, in a tall grey picture."""
    picture = np.full((1920, SIDE, 3), 90, np.uint8)
    with VideoWriter(path, Fraction(FPS)) as writer:
        for n, frame in enumerate(talking_frames(np.resize(audio.load_wav(SPEECH, RATE), SECONDS * RATE), FPS)):
            picture[420 : 420 + SIDE] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            writer.write(picture.copy(), n / FPS)
    return path


if __name__ == "__main__":
    main()
