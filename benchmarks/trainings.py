"""Rates against plain references, in one run on this machine.

    make bench                 (or: python -m benchmarks.bench)

The plain references do the same work in the way of the published code: pictures decoded and the whole mel computed for
every sample, boxes decoded one by one, training in float32. Without a GPU time is that of the CPU, all threads
together, which other programs on the machine disturb least.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import audio
from data.clip import Clip
from data.dataset import ExpertWindows, GeneratorWindows, expert_inputs, generator_inputs
from data.loading import training_batches
from face_detection.boxes import best_boxes, grid_anchors
from face_detection.crop import to_network_size
from face_detection.s3fd import ANCHOR_PER_STRIDE, CANDIDATE_SCORE, KEEP_SCORE, NMS_OVERLAP, STRIDES
from hparams import hparams
from models import SyncNet_color, Wav2Lip
from models.inputs import generator_faces
from tests.portrait import SPEECH, talking_frames
from training import losses
from training.network import TrainableNetwork
from utils.devices import Precision, keep_freed_memory

SECONDS = 5.0  # least time that each rate is taken over
GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "golden.npz"
HP = hparams.override("num_workers=0,batch_size=16")


class Training(NamedTuple):
    """One step of a training as it is here, and in the plain way."""

    what: str
    size: int  # windows
    ours: Callable[[], Any]
    plain: Callable[[], Any]


def rate(work: Callable[[], Any], items: int) -> float:
    """Items a second of calls of work(), after two that do not count."""
    for _ in range(2):
        work()
    _finish()
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    calls, began = 0, clock()
    while clock() - began < SECONDS:
        work()
        _finish()
        calls += 1
    return calls * items / (clock() - began)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def report(what: str, unit: str, ours: float, plain: float) -> None:
    print(f"{what:50} {ours:10.1f} {unit:10} plain {plain:10.2f}   {ours / plain:7.1f} times", flush=True)


def make_clip(folder: Path) -> Clip:
    """Three seconds of face crops, as preprocessing leaves them."""
    wav = audio.load_wav(SPEECH, HP.sample_rate)[: 3 * HP.sample_rate]
    for n, frame in enumerate(talking_frames(wav, HP.fps)):
        cv2.imwrite(str(folder / f"{n}.jpg"), frame[57:177, 178:273])
    audio.save_wav(wav, folder / "audio.wav", HP.sample_rate)
    return Clip(folder, HP)


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


def bench_loader(clip: Clip) -> None:
    batches = training_batches(GeneratorWindows([clip], HP, training=True), HP.batch_size, 0)
    rng = np.random.default_rng(0)
    plain = rate(lambda: plain_window(clip, rng, True), 1)
    report("generator windows from disk, augmented", "windows/s", rate(lambda: next(batches), HP.batch_size), plain)


def bench_s3fd_boxes() -> None:
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
    report("S3FD boxes from raw heads, 160x128", "frames/s", rate(ours, 1), rate(plain, 1))


def generator_training(clip: Clip, device: torch.device, size: int) -> Training:
    batches = training_batches(GeneratorWindows([clip], HP, training=True), size, 0)
    trained = TrainableNetwork(Wav2Lip(), HP, Precision("auto", device), 1e-4)

    def ours():
        batch = {name: tensor.to(device) for name, tensor in next(batches).items()}
        faces, target = generator_inputs(batch)
        trained.backward(F.l1_loss(trained(batch["mels"], faces).float(), target))
        trained.update(1, 1)

    network, rng = Wav2Lip().to(device), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def plain():
        windows = [plain_window(clip, rng, True) for _ in range(size)]
        pictures = torch.from_numpy(np.stack([pictures for pictures, _ in windows])).to(device)
        target, reference = pictures.permute(0, 4, 1, 2, 3).contiguous().chunk(2, dim=2)
        mels = torch.from_numpy(np.stack([mels for _, mels in windows])).to(device)
        optimizer.zero_grad()
        F.l1_loss(network(mels, generator_faces(target, reference)), target).backward()
        optimizer.step()

    return Training(f"generator training, full size, batch {size}, {device.type}", size, ours, plain)


def expert_training(clip: Clip, device: torch.device, size: int) -> Training:
    batches = training_batches(ExpertWindows([clip], HP, training=True), size, 0)
    trained = TrainableNetwork(SyncNet_color(), HP, Precision("auto", device), 1e-4, ema=0.998)

    def ours():
        batch = {name: tensor.to(device) for name, tensor in next(batches).items()}
        trained.backward(losses.cosine_bce(*trained(*expert_inputs(batch)), batch["in_sync"]))
        trained.update(1, 1)

    network, rng = SyncNet_color().to(device), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, foreach=False)

    def plain():
        windows = [plain_window(clip, rng, False) for _ in range(size)]
        faces = torch.from_numpy(np.stack([pictures[:, 48:] for pictures, _ in windows])).to(device)
        faces = faces.permute(0, 1, 4, 2, 3).reshape(size, 15, 48, 96)
        mels = torch.from_numpy(np.stack([mels[0] for _, mels in windows])).to(device)
        optimizer.zero_grad()
        losses.cosine_bce(*network(mels, faces), torch.ones(size, device=device)).backward()
        optimizer.step()

    return Training(f"expert training, full size, batch {size}, {device.type}", size, ours, plain)


def main() -> None:
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
        bench_loader(clip)
        bench_s3fd_boxes()
        sizes = (16, 64, 256) if device.type == "cuda" else (4,)
        trainings = [generator_training(clip, device, size) for size in sizes]
        trainings.append(expert_training(clip, device, 64 if device.type == "cuda" else 32))
        plain_rates = [rate(training.plain, training.size) for training in trainings]
        keep_freed_memory(device)  # as trainings do; it holds for the whole process, so the plain ones come first
        for training, plain in zip(trainings, plain_rates, strict=True):
            report(training.what, "windows/s", rate(training.ours, training.size), plain)
        del trainings
        del clip


if __name__ == "__main__":
    main()
