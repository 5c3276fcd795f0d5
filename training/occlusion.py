"""Training of the network behind inference.py --occlusion, on clean faces with things drawn before them.

    python -m training.occlusion --data_root preprocessed --filelists_dir filelists --minutes 20

The clips of train.txt must show faces that nothing covers. Writes checkpoints/occlusion_small.safetensors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset

from data.clip import Clip
from data.filelists import listed_clips
from hparams import hparams
from metrics.detail import mouth_weight
from models.inputs import OCCLUSION_SIZE as SIZE
from models.occlusion import OcclusionNet
from models.published import BUNDLED_OCCLUSION
from training import occluders
from utils import cli, weight_files
from utils.options import Options, from_args, option

BATCH, RATE = 64, 3e-3
EVERY = 4  # frames of a clip, one of which is used
THINGS = 400  # drawn for each group
CLEAN = 0.45  # share of the faces that nothing covers


@dataclass(frozen=True, kw_only=True)
class OcclusionOptions(Options):
    """What this training takes."""

    data_root: Path = option("the --preprocessed_root of preprocess.py")
    filelists_dir: Path = option("where train.txt is", Path("filelists"))
    minutes: float = option("stop after so long", 20.0, unit="minutes", minimum=0.01)
    start: Path | None = option("weights to go on from", None)
    out: Path = option("the weights to write", BUNDLED_OCCLUSION)


class CoveredFaces(IterableDataset):
    """Endless: a face and the median of its clip, uint8 [48, 48, 3], and what of the face is covered, float32 [48, 48].

    Each group of clips, being a person, comes as often as the others.
    """

    def __init__(self, folders: list[Path], seed: int) -> None:
        self.seed = seed
        self.groups: dict[str, list[np.ndarray]] = {}  # of each clip uint8 [N, 96, 96, 3]
        for folder in folders:
            faces = np.asarray(Clip(folder, hparams).faces)[::EVERY]
            self.groups.setdefault(folder.parent.name, []).append(faces)
        rng = np.random.default_rng(seed)
        self.medians = {name: [medians(rng, faces) for faces in clips] for name, clips in self.groups.items()}
        self.things = {name: [self._thing(rng, clips) for _ in range(THINGS)] for name, clips in self.groups.items()}

    @staticmethod
    def _thing(rng: np.random.Generator, clips: list[np.ndarray]) -> np.ndarray:
        """An occluder in this person's colours, or others: uint8 [96, 96, 4], premultiplied, its coverage last."""
        faces = clips[rng.integers(len(clips))]
        picture, coverage = occluders.draw(rng, faces[rng.integers(len(faces))], 2 * SIZE)
        return np.clip(np.dstack((picture, 255 * coverage)), 0, 255).astype(np.uint8)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        worker = torch.utils.data.get_worker_info()
        rng, names = np.random.default_rng((self.seed, worker.id if worker else 0)), list(self.groups)
        cv2.setNumThreads(1)
        while True:
            name = names[rng.integers(len(names))]
            clips = self.groups[name]
            clip = rng.integers(len(clips))
            faces = clips[clip]
            others = self.medians[name][clip if rng.random() < 0.85 else rng.integers(len(clips))]
            median = others[rng.integers(len(others))].astype(np.float32)
            face = faces[rng.integers(len(faces))].astype(np.float32)
            thing = self.things[name if rng.random() < 0.8 else names[rng.integers(len(names))]]
            yield composite(rng, face, median, thing[rng.integers(THINGS)].astype(np.float32))


def composite(
    rng: np.random.Generator, face: np.ndarray, median: np.ndarray, thing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An item of CoveredFaces from pictures of 96 pixels, float32: changed at random, the thing before it or not."""
    pose = jitter(rng, 12, 0.1, 5)
    other_pose = pose @ (jitter(rng, 3, 0.03, 2) if rng.random() < 0.5 else jitter(rng, 10, 0.08, 8))
    face, median = bent(rng, warped(face, pose)), warped(median, other_pose)
    if rng.random() < 0.35:
        face, median = bearded(rng, face, median)
    if rng.random() < 0.4:  # of a head that moves
        median = cv2.GaussianBlur(median, (0, 0), rng.uniform(0.5, 2.5))
    if rng.random() < 0.2:
        face = opened(rng, face)
    thing = warped(thing, jitter(rng, 25, 0.15, 6), cv2.BORDER_CONSTANT) * (rng.random() > CLEAN)
    if rng.random() < 0.3:
        thing = cv2.GaussianBlur(thing, (0, 0), rng.uniform(0.4, 1.2))
    coverage = thing[..., 3:] / 255
    if rng.random() < 0.5:
        moved = np.array([[1, 0, rng.normal(0, 2)], [0, 1, rng.uniform(0, 4)]])
        shadow = cv2.GaussianBlur(cv2.warpAffine(coverage, moved, (SIZE, SIZE)), (0, 0), rng.uniform(1, 3))
        face = face * (1 - rng.uniform(0, 0.5) * shadow[..., None])
    face, median = filmed(rng, face * (1 - coverage) + thing[..., :3], median)
    mirrored = slice(None, None, int(rng.choice((-1, 1))))
    face, median, coverage = (np.ascontiguousarray(each[:, mirrored]) for each in (face, median, coverage[..., 0]))
    return face, median, coverage


def filmed(rng: np.random.Generator, face: np.ndarray, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in other colours and light, the face with blur and noise: uint8 [48, 48, 3]."""
    colours = rng.uniform(0.55, 1.35) * rng.uniform(0.85, 1.15, 3)
    face, median = face * colours, median * colours * rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)
    if rng.random() < 0.4:
        face = face * shade(rng)
    if rng.random() < 0.3:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.2))
    gamma = np.exp(rng.normal(0, 0.15))
    face, median = (255 * (np.clip(picture, 0, 255) / 255) ** gamma for picture in (face, median))
    face = np.clip(face + rng.normal(0, rng.uniform(0, 5), face.shape), 0, 255)
    return face.astype(np.uint8), median.astype(np.uint8)


def medians(rng: np.random.Generator, faces: np.ndarray) -> list[np.ndarray]:
    """Of one, few and many of the faces."""
    return [
        np.median(faces[rng.integers(0, len(faces), count)], axis=0).astype(np.uint8) for count in (1, 3, 12, 24, 24)
    ]


def jitter(rng: np.random.Generator, degrees: float, scale: float, pixels: float) -> np.ndarray:
    """A random similarity [3, 3] about the middle of 96 pixels."""
    matrix = cv2.getRotationMatrix2D((SIZE, SIZE), rng.normal(0, degrees / 2), np.exp(rng.normal(0, scale)))
    matrix[:, 2] = matrix[:, 2] + rng.normal(0, pixels / 2, 2)
    return np.vstack((matrix, (0, 0, 1)))


def warped(picture: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """At half the size."""
    return cv2.warpAffine(picture, np.diag((0.5, 0.5, 1))[:2] @ matrix, (SIZE, SIZE), borderMode=border)


def bent(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """With other features in other places, as in another pose or expression."""
    shift = cv2.resize(rng.normal(0, rng.uniform(0, 1.2), (5, 5, 2)).astype(np.float32), (SIZE, SIZE))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return cv2.remap(
        picture, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def blob(rng: np.random.Generator, x: float, y: float, width: float, height: float) -> np.ndarray:
    """A soft ellipse, float32 [48, 48, 1]."""
    drawn = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(drawn, ((x, y), (width, height), rng.normal(0, 8)), 1.0, -1, cv2.LINE_AA)
    return drawn[..., None]


def opened(rng: np.random.Generator, face: np.ndarray) -> np.ndarray:
    """A mouth wide open, with or without teeth: no occluder."""
    x, y = 24 + rng.normal(0, 1.5), 36 + rng.normal(0, 1.5)
    width, height = rng.uniform(8, 18), rng.uniform(4, 12)
    face = face + blob(rng, x, y, width, height) * (rng.uniform((10, 10, 20), (60, 60, 120)) - face)
    if rng.random() < 0.6:
        teeth = blob(rng, x, y - height / 3, width * 0.7, height * 0.25)
        face = face + teeth * (rng.uniform(150, 240) - face)
    return face


def bearded(rng: np.random.Generator, face: np.ndarray, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A beard in both pictures: no occluder."""
    around = blob(rng, 24, 38 + rng.normal(0, 2), rng.uniform(18, 40), rng.uniform(10, 30))
    mouth = blob(rng, 24, 36, rng.uniform(8, 14), rng.uniform(3, 6))
    weight = cv2.GaussianBlur(around * (1 - mouth), (0, 0), rng.uniform(0.8, 2.5))[..., None] * rng.uniform(0.3, 0.9)
    hair = rng.uniform(10, 150) * rng.uniform(0.8, 1.1, 3) + rng.normal(0, rng.uniform(3, 20), (SIZE, SIZE, 1))
    return face + weight * (hair - face), median + weight * (hair - median)


def shade(rng: np.random.Generator) -> np.ndarray:
    """Light and shadow, factors [48, 48, 1]: no occluder."""
    coarse = rng.normal(1, rng.uniform(0.03, 0.25), (3, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0.4, 1.5)[..., None]


def to_input(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 BGR [B, 48, 48, 3] -> float32 [B, 3, 48, 48] in 0..1."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def train_occlusion(options: OcclusionOptions) -> None:
    torch.manual_seed(0)
    data = CoveredFaces(listed_clips(options.filelists_dir, "train", options.data_root), seed=0)
    network = OcclusionNet().train()
    if options.start:
        weight_files.load_into(network, weight_files.read(options.start)["state_dict"], options.start)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    weight = torch.from_numpy(0.15 + mouth_weight(SIZE))
    weight /= weight.mean()
    start, losses = monotonic(), []
    for step, (faces, beside, covered) in enumerate(DataLoader(data, BATCH, num_workers=1, prefetch_factor=8)):
        done = (monotonic() - start) / (60 * options.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = (
                RATE * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * done)) * (0.5 if options.start else 1) + 1e-5
            )
        logits = network(to_input(faces), to_input(beside))
        loss = F.binary_cross_entropy_with_logits(logits, covered, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            print(f"{step} {done:.2f} {np.mean(losses[-100:]):.4f}", flush=True)
    weights = network.state_dict().items()
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights}
    weight_files.write_safetensors(options.out, state, {"steps": str(step)})


if __name__ == "__main__":
    parser = cli.parser_for(__doc__, OcclusionOptions)
    cli.run(lambda args: train_occlusion(from_args(OcclusionOptions, args)), parser.parse_args)
