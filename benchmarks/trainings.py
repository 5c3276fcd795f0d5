"""Training, and what it reads, against plain code that does the same work in the way of the published code: pictures
decoded and the whole mel computed for every sample, boxes decoded one by one, training in float32.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import audio
from benchmarks.footage import make_clip
from benchmarks.measuring import CPU, rate
from benchmarks.results import Row
from data.clip import Clip
from data.dataset import ExpertWindows, GeneratorWindows, expert_inputs, generator_inputs
from data.loading import training_loader
from face_detection.boxes import best_boxes, grid_anchors
from face_detection.crop import to_network_size
from face_detection.s3fd import ANCHOR_PER_STRIDE, CANDIDATE_SCORE, KEEP_SCORE, NMS_OVERLAP, STRIDES
from hparams import HParams, hparams
from models import SyncNet_color, Wav2Lip
from models.inputs import generator_faces
from training import losses
from training.network import TrainableNetwork
from utils.devices import Precision, keep_freed_memory

TITLE = "Training"
CONDITIONS = """
The plain code decodes JPEGs and computes the whole mel spectrogram for every window, decodes boxes one by one, and
trains in fp32. CPU time, all threads together; networks of full size.
"""
GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "golden.npz"
HP = hparams.override("num_workers=0,batch_size=16")
WINDOWS = {"generator": 4, "expert": 32}  # in a step


class Steps(NamedTuple):
    """One step of a training as it is here, and in the plain way."""

    size: int  # windows
    ours: Callable[[], Any]
    plain: Callable[[], Any]


def measure() -> list[Row]:
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder), HP)
        rows = [loading(clip), boxes()]
        made = {"generator": generator_steps, "expert": expert_steps}
        steps = {what: make(clip, CPU, WINDOWS[what]) for what, make in made.items()}
        plain = {what: rate(step.plain, step.size) for what, step in steps.items()}
        keep_freed_memory(CPU)  # as trainings do; it holds for the whole process, so the plain ones come first
        for what, step in steps.items():
            rows.append(
                Row(f"{what} training, batch {step.size}", "windows/s", rate(step.ours, step.size), plain[what])
            )
        del clip, steps, step
    return rows


def plain_window(clip: Clip, rng: np.random.Generator, per_frame_mels: bool) -> tuple[np.ndarray, np.ndarray]:
    """One window in the way of the published code: ten (for the expert five) JPEGs decoded, the whole mel computed.

    Pictures float [5 or 10, 96, 96, 3] in 0..1 and mels [5 or 1, 1, 80, 16].
    """
    first, other = (int(n) for n in rng.integers(1, 60, 2))
    pictures = [
        to_network_size(cv2.imread(str(clip.folder / f"{n}.jpg")), HP.img_size)
        for start in ((first, other) if per_frame_mels else (first,)) for n in range(start, start + 5)
    ]  # fmt: skip
    mel = audio.melspectrogram(audio.load_wav(clip.folder / "audio.wav", HP.sample_rate), HP)
    starts = audio.frame_mel_starts(first, HP) if per_frame_mels else [audio.window_mel_start(first, HP)]
    return np.stack(pictures).astype(np.float32) / 255, np.stack([mel[None, :, s : s + 16] for s in starts])


def plain_windows(
    clip: Clip, device: torch.device, size: int, per_frame_mels: bool, loaded: bool
) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """What gives pictures and mels of `size` windows (plain_window) on the device at every call. loaded: the same ones
    every time, so that a GPU does not wait for their loading, for which it would need many processes."""
    rng = np.random.default_rng(0)

    def read() -> list[tuple[np.ndarray, np.ndarray]]:
        return [plain_window(clip, rng, per_frame_mels) for _ in range(size)]

    kept = read() if loaded else []

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        pictures, mels = (
            torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*(kept or read()), strict=True)
        )
        return pictures, mels

    return batch


def loading(clip: Clip) -> Row:
    batches = iter(training_loader(GeneratorWindows([clip], HP, training=True), HP.batch_size, 0))
    rng = np.random.default_rng(0)
    plain = rate(lambda: plain_window(clip, rng, True), 1)
    ours = rate(lambda: next(batches), HP.batch_size)
    return Row("generator windows from disk, augmented, one loader process", "windows/s", ours, plain)


def boxes() -> Row:
    with np.load(GOLDEN) as outputs:
        heads = [torch.from_numpy(outputs[f"s3fd_head_{i:02d}"][:1]) for i in range(12)]
    scores = [logits.softmax(dim=1)[0, 1] for logits in heads[0::2]]
    offsets = [head[0] for head in heads[1::2]]

    def ours():
        anchors = [grid_anchors(*s.shape, stride, (stride * 4,)) for s, stride in zip(scores, STRIDES, strict=True)]
        flat = torch.cat([o.permute(1, 2, 0).reshape(-1, 4) for o in offsets])
        levels = torch.cat([s.flatten() for s in scores])
        thresholds = CANDIDATE_SCORE, NMS_OVERLAP, KEEP_SCORE
        return best_boxes(flat.numpy(), np.concatenate(anchors), levels.numpy(), *thresholds)

    def plain():
        boxes = []
        for level, offset, stride in zip(scores, offsets, STRIDES, strict=True):
            for y, x in zip(*torch.where(level > CANDIDATE_SCORE), strict=True):
                cx, cy, size = (x + 0.5) * stride, (y + 0.5) * stride, stride * ANCHOR_PER_STRIDE
                dx, dy, dw, dh = offset[:, y, x]
                w, h = size * torch.exp(dw * 0.2), size * torch.exp(dh * 0.2)
                left, top = cx + dx * 0.1 * size - w / 2, cy + dy * 0.1 * size - h / 2
                boxes.append([float(v) for v in (left, top, left + w, top + h, level[y, x])])
        boxes, kept = np.array(sorted(boxes, key=lambda box: -box[4])), []
        while len(boxes):
            best, boxes = boxes[0], boxes[1:]
            kept.append(best)
            sides = np.minimum(boxes[:, 2:4], best[2:4]) - np.maximum(boxes[:, :2], best[:2])
            shared = np.prod(np.maximum(sides, 0), axis=1)
            areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) + np.prod(best[2:4] - best[:2])
            boxes = boxes[shared / (areas - shared) <= NMS_OVERLAP]
        return np.array([box for box in kept if box[4] > KEEP_SCORE])

    assert np.abs(ours() - plain()).max() < 0.01
    rates = (rate(work, 1) for work in (ours, plain))
    return Row("S3FD boxes from raw network outputs, 160×128", "frames/s", *rates)


def generator_steps(clip: Clip, device: torch.device, size: int, hp: HParams = HP, loaded: bool = False) -> Steps:
    """Of `size` windows; loaded: as of plain_windows."""
    batches = iter(training_loader(GeneratorWindows([clip], hp, training=True), size, 0))
    trained = TrainableNetwork(Wav2Lip(hp.width), hp, Precision("auto", device), 1e-4)

    def ours():
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(batches).items()}
        faces, target = generator_inputs(batch)
        trained.backward(F.l1_loss(trained(batch["mels"], faces).float(), target))
        trained.update(1, 1)

    network, read = Wav2Lip(hp.width).to(device), plain_windows(clip, device, size, True, loaded)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def plain():
        pictures, mels = read()
        target, reference = pictures.permute(0, 4, 1, 2, 3).contiguous().chunk(2, dim=2)
        optimizer.zero_grad()
        F.l1_loss(network(mels, generator_faces(target, reference)), target).backward()
        optimizer.step()

    return Steps(size, ours, plain)


def expert_steps(clip: Clip, device: torch.device, size: int, hp: HParams = HP, loaded: bool = False) -> Steps:
    """As generator_steps."""
    batches = iter(training_loader(ExpertWindows([clip], hp, training=True), size, 0))
    trained = TrainableNetwork(SyncNet_color(hp.width), hp, Precision("auto", device), 1e-4, ema=0.998)

    def ours():
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(batches).items()}
        trained.backward(losses.cosine_bce(*trained(*expert_inputs(batch)), batch["in_sync"]))
        trained.update(1, 1)

    network, read = SyncNet_color(hp.width).to(device), plain_windows(clip, device, size, False, loaded)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def plain():
        pictures, mels = read()
        faces = pictures[:, :, 48:].permute(0, 1, 4, 2, 3).reshape(size, 15, 48, 96)
        optimizer.zero_grad()
        losses.cosine_bce(*network(mels[:, 0], faces), torch.ones(size, device=device)).backward()
        optimizer.step()

    return Steps(size, ours, plain)
