"""Everything that a GPU is for, in one command of under five minutes: `python -m benchmarks gpu`.

The functions take the device and the sizes, so that a test runs all of them on a CPU.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.dubs import GFLOP_A_FRAME
from benchmarks.footage import FPS, WIDE_BOX, make_clip, make_speech, make_video, save
from benchmarks.measuring import CPU, exact_products, finish, rate
from benchmarks.results import Row
from benchmarks.trainings import expert_steps, generator_steps
from data.clip import Clip
from data.dataset import GeneratorWindows, generator_inputs
from data.loading import training_loader
from dubbing import Dubber, Options
from hparams import HParams, hparams
from media import hardware
from models import Wav2Lip
from models.batched_generator import fold_batch_norms
from models.engines.fixed_batches import algorithms_by_trial
from models.engines.torch_engine import TorchGenerator
from models.inputs import generator_faces
from training.network import TrainableNetwork
from utils.devices import DTYPES, Precision
from utils.errors import InputError

TITLE = "On a GPU"
CONDITIONS = """
Full size. Generator: from uint8 faces in memory to uint8 faces in memory, whole faces; the plain code uploads floats,
launches one operation after another in fp32 and downloads floats. Its share is that of the rate at which this GPU
multiplies large matrices in the same number format. Dubs: ten seconds of 1920×1080 with `--box`, networks loaded,
x264 or the GPU's encoder. Trainings: from clips on disk; the plain steps in fp32, their windows loaded beforehand.
"""


@dataclass(frozen=True)
class Sizes:
    """seconds: that a rate is taken over; side: of the matrices; batches: of the generator; dub_seconds: how much is
    dubbed; codecs: by which --codec and --decoder; generator_windows, expert_windows: in a step."""

    seconds: float = 1.5
    side: int = 8192
    batches: tuple[int, ...] = (1, 4, 16, 64, 128, 256)
    precisions: tuple[str, ...] = ("fp16", "bf16")
    dub_seconds: float = 10
    codecs: tuple[tuple[str, str], ...] = (("h264", "software"), ("h264_nvenc", "software"), ("h264_nvenc", "cuda"))
    generator_windows: tuple[int, ...] = (16, 64)
    expert_windows: tuple[int, ...] = (64, 256)


def measure() -> list[Row]:
    if not torch.cuda.is_available():
        raise InputError("benchmarks gpu: no GPU that PyTorch can use is here")
    hp = hparams.override(f"num_workers={min(8, (os.cpu_count() or 1) // 2)}")
    return measure_on(torch.device("cuda"), Sizes(), hp)


def measure_on(device: torch.device, sizes: Sizes, hp: HParams) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clip").mkdir()
        clip = make_clip(folder / "clip", hp)
        with algorithms_by_trial():
            rows = [
                *generator_rows(device, sizes, hp.width),
                *dub_rows(device, sizes, hp.width, folder),
                *training_rows(device, sizes, hp, clip),
                *loss_rows(device, hp, clip),
            ]
        del clip
    return rows


def generator_rows(device: torch.device, sizes: Sizes, width: float) -> list[Row]:
    plain = {batch: plain_generator_rate(device, sizes, batch, width) for batch in sizes.batches}
    rows = []
    for name in sizes.precisions:
        if name == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            continue
        precision = Precision(name, device)
        limit = product_rate(device, sizes, DTYPES[name] or torch.float32)
        rows.append(Row(f"products of matrices, {name}", "TFLOP/s", limit / 1e12))
        generator = fold_batch_norms(Wav2Lip(width).eval(), precision)
        for batch in sizes.batches:
            with peak_memory(device) as peak:
                ours = generator_rate(TorchGenerator(generator, precision, batch), device, sizes)
            rows.append(Row(f"generator, {name}, batch {batch}", "frames/s", ours, plain[batch]))
            rows.append(Row("its share of the products", "%", 100 * ours * GFLOP_A_FRAME * 1e9 / limit))
            rows += peak.rows("its memory at most")
    return rows


def product_rate(device: torch.device, sizes: Sizes, dtype: torch.dtype) -> float:
    """Operations a second in products of large matrices."""
    square = torch.randn(sizes.side, sizes.side, device=device, dtype=dtype)
    return rate(lambda: square @ square, 1, device, sizes.seconds) * 2 * sizes.side**3


def generator_rate(engine: TorchGenerator, device: torch.device, sizes: Sizes) -> float:
    """Frames a second, four batches a call, as one is prepared while another is worked on."""
    count = 4 * engine.batch_size
    faces, mels = np.full((count, 96, 96, 3), 90, np.uint8), np.zeros((count, 1, 80, 16), np.float32)
    return rate(lambda: engine(faces, mels), count, device, sizes.seconds)


@torch.inference_mode()
def plain_generator_rate(device: torch.device, sizes: Sizes, batch: int, width: float) -> float:
    network = Wav2Lip(width).eval().to(device)
    faces, mels = np.full((batch, 96, 96, 3), 90, np.uint8), np.zeros((batch, 1, 80, 16), np.float32)

    def draw() -> np.ndarray:
        pictures = torch.from_numpy(faces.transpose(0, 3, 1, 2) / np.float32(255)).to(device)
        return network(torch.from_numpy(mels).to(device), generator_faces(pictures, pictures)).cpu().numpy() * 255

    return rate(draw, batch, device, sizes.seconds)


def dub_rows(device: torch.device, sizes: Sizes, width: float, folder: Path) -> list[Row]:
    """Of a video of 1920x1080, by the encoders and decoders that work here."""
    video, weights = folder / "wide.mp4", save(folder / "weights.pth", width)
    make_video(video, (1080, 1920), (0, 420), sizes.dub_seconds)
    speech, rows = make_speech(folder / "speech.wav", sizes.dub_seconds), []
    box = tuple(map(int, WIDE_BOX))
    settings = Options(checkpoint_path=weights, device=str(device), engine="torch", box=box)
    for encoder, decoder in sizes.codecs:
        if not (encodes(encoder) and decodes(decoder)):
            continue
        dubber = Dubber(replace(settings, codec=encoder, decoder=decoder))
        with peak_memory(device) as peak:
            for _ in range(2):  # the first time sets things up
                began = time.perf_counter()
                dubber.dub(video, speech, folder / f"{encoder}.mp4")
                taken = time.perf_counter() - began
        rows.append(
            Row(f"dub of 1920×1080, decoded by {decoder}, {encoder}", "s of video/s", sizes.dub_seconds / taken)
        )
        rows += peak.rows("its memory on the GPU at most")
    return rows


def encodes(encoder: str) -> bool:
    """Whether one of FFmpeg's encoders, or one of --codec, can be opened here."""
    if encoder == "h264":
        return True
    try:
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt, context.time_base = 640, 480, "yuv420p", Fraction(1, FPS)
        context.open()
    except (av.error.FFmpegError, ValueError):  # no such encoder, or no driver for it
        return False
    return True


def decodes(decoder: str) -> bool:
    try:
        hardware.accelerator(decoder)
    except InputError:
        return False
    return True


def training_rows(device: torch.device, sizes: Sizes, hp: HParams, clip: Clip) -> list[Row]:
    rows = []
    kinds = (("generator", generator_steps, sizes.generator_windows), ("expert", expert_steps, sizes.expert_windows))
    for what, make, windows in kinds:
        for size in windows:
            steps = make(clip, device, size, hp, loaded=True)
            plain = rate(steps.plain, size, device, sizes.seconds)
            with peak_memory(device) as peak:
                rows.append(Row(f"{what} training, batch {size}", "windows/s",
                                rate(steps.ours, size, device, sizes.seconds), plain))  # fmt: skip
            rows += peak.rows("its memory at most, both networks there")
    return rows


def loss_rows(device: torch.device, hp: HParams, clip: Clip) -> list[Row]:
    """The loss of the same step in fp32 there and on the CPU, and that of the step after it, which shows its update."""
    there, here = (two_losses(each, hp, clip) for each in (device, CPU))
    what = ("loss of a step in fp32; on the CPU", "of the step after it")
    return [Row(*row) for row in zip(what, ("", ""), there, here, strict=True)]


def two_losses(device: torch.device, hp: HParams, clip: Clip) -> tuple[float, float]:
    """L1 of two steps of generator training in single precision, without TF32."""
    hp = hp.override("num_workers=0,batch_size=2")
    batches = iter(training_loader(GeneratorWindows([clip], hp, training=True), hp.batch_size, 0))
    torch.manual_seed(0)
    trained = TrainableNetwork(Wav2Lip(hp.width), hp, Precision("fp32", device), 1e-4)
    found = []
    with exact_products():
        for step in (1, 2):
            batch = {name: tensor.to(device) for name, tensor in next(batches).items()}
            faces, target = generator_inputs(batch)
            loss = F.l1_loss(trained(batch["mels"], faces), target)
            trained.backward(loss)
            trained.update(step, 0.0)
            found.append(loss.item())
    return found[0], found[1]


class Peak:
    """megabytes: at most on the device while it was watched, None on a CPU."""

    megabytes: float | None = None

    def rows(self, what: str) -> list[Row]:
        return [] if self.megabytes is None else [Row(what, "MiB", self.megabytes)]


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield peak
    if device.type == "cuda":
        finish(device)
        peak.megabytes = torch.cuda.max_memory_allocated(device) / 2**20
