"""Rates against plain references, in one run on this machine.

    make bench                 (or: python -m tests.bench)

The plain references do the same work in the way of the published code: pictures decoded and the whole mel computed for
every sample, boxes decoded one by one, training in float32.
"""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

import audio
from clip_cache import Clip
from dataset import GeneratorWindows, generator_inputs, training_batches
from demo.portrait import SPEECH, talking_frames
from devices import Precision
from face_detection.boxes import best_boxes, grid_anchors
from face_detection.crop import to_network_size
from face_detection.s3fd import ANCHOR_PER_STRIDE, CANDIDATE_SCORE, KEEP_SCORE, NMS_OVERLAP, STRIDES
from hparams import hparams
from models import Wav2Lip
from tests import golden

SECONDS = 3.0  # least time that each rate is taken over
HP = hparams.override("num_workers=0,batch_size=16")


def rate(work, items: int) -> float:
    """Items a second of calls of work(), after one that does not count."""
    work()
    calls, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < SECONDS:
        work()
        calls += 1
    return calls * items / seconds


def report(what: str, unit: str, ours: float, plain: float) -> None:
    print(f"{what:42} {ours:10.1f} {unit:10} plain {plain:10.2f}   {ours / plain:7.1f} times", flush=True)


def make_clip(folder: Path) -> Clip:
    """Three seconds of face crops, as preprocessing leaves them."""
    wav = audio.load_wav(SPEECH, HP.sample_rate)[: 3 * HP.sample_rate]
    for n, frame in enumerate(talking_frames(wav, HP.fps)):
        cv2.imwrite(str(folder / f"{n}.jpg"), frame[57:177, 178:273])
    audio.save_wav(wav, folder / "audio.wav", HP.sample_rate)
    return Clip(folder, HP)


def bench_loader(clip: Clip) -> None:
    windows = GeneratorWindows([clip], HP)
    batches = training_batches(windows, HP.batch_size, 0, 0)
    rng = np.random.default_rng(0)

    def plain():
        first, other = rng.integers(1, 60, 2)
        pictures = [
            to_network_size(cv2.imread(str(clip.folder / f"{n}.jpg")), HP.img_size)
            for start in (first, other) for n in range(start, start + 5)
        ]  # fmt: skip
        mel = audio.melspectrogram(audio.load_wav(clip.folder / "audio.wav", HP.sample_rate), HP)
        return np.stack(pictures) / 255.0, [mel[:, s : s + 16] for s in audio.frame_mel_starts(int(first), HP)]

    report("training windows from disk", "windows/s", rate(lambda: next(batches), HP.batch_size), rate(plain, 1))


def bench_s3fd_boxes() -> None:
    heads = [torch.from_numpy(golden.OUTPUTS[f"s3fd_head_{i:02d}"][:1]) for i in range(12)]
    scores = [logits.softmax(dim=1)[0, 1] for logits in heads[0::2]]
    offsets = [head[0] for head in heads[1::2]]

    def ours():
        anchors = [grid_anchors(*s.shape, stride, (stride * 4,)) for s, stride in zip(scores, STRIDES, strict=True)]
        flat = torch.cat([o.permute(1, 2, 0).reshape(-1, 4) for o in offsets])
        levels = torch.cat([s.flatten() for s in scores])
        return best_boxes(flat, torch.cat(anchors), levels, CANDIDATE_SCORE, NMS_OVERLAP, KEEP_SCORE)

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


def bench_generator_training(clip: Clip) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = next(training_batches(GeneratorWindows([clip], HP), 4, 0, 0))
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    faces, target = generator_inputs(batch)

    def stepper(precision_name: str, **layout):
        generator = Wav2Lip().to(device, **layout)
        optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
        precision = Precision(precision_name, device)

        def step():
            with precision.autocast():
                generated = generator(batch["mels"], faces)
            loss = torch.nn.functional.l1_loss(generated.float(), target)
            precision.step(loss, optimizer)
            return float(loss.detach())

        return step

    ours = rate(stepper("auto", memory_format=torch.channels_last), 4)
    report(f"generator training, full size, {device.type}", "windows/s", ours, rate(stepper("fp32"), 4))


def main() -> None:
    torch.set_flush_denormal(True)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder))
        bench_loader(clip)
        bench_s3fd_boxes()
        bench_generator_training(clip)
        del clip


if __name__ == "__main__":
    main()
