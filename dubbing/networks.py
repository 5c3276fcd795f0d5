"""The networks of a dub, which many dubs share."""

import sys
from dataclasses import dataclass
from pathlib import Path

from dubbing.options import Options
from hparams import HParams
from metrics.experts import Expert
from models import Wav2Lip, face_refiner
from models.batched_generator import BatchedGenerator, fold_batch_norms
from models.checkpoint import load_network
from models.face_refiner import PERSON, FaceRefiner
from models.published import EXPERTS, default_generator
from utils.devices import Precision, pick_device
from utils.errors import InputError
from utils.files import sha256

BATCH_CPU, BATCH_GPU = 16, 128
SETTINGS = ("checkpoint_path", "hparams", "device", "precision", "wav2lip_batch_size", "no_score", "refine")


@dataclass(frozen=True)
class Networks:
    """hp, path, sha256: of the generator; expert: what scores the sync, where there is one;
    refiner: what sharpens the mouths, where that is wanted; options: what they were loaded with."""

    generator: BatchedGenerator
    hp: HParams
    path: Path
    sha256: str
    expert: Expert | None
    refiner: FaceRefiner | None
    options: Options

    def fit(self, options: Options) -> bool:
        """Whether dubs with these options use the same networks."""
        return all(getattr(options, name) == getattr(self.options, name) for name in SETTINGS)


def load_networks(options: Options) -> Networks:
    """The generator, and the expert that is there. Raises InputError for files that hold something else."""
    precision = Precision(options.precision, pick_device(options.device))
    path = options.checkpoint_path or default_generator()
    if not options.checkpoint_path:
        print(f"generator: {path}", flush=True)
    generator, hp = load_network(path, Wav2Lip, options.hparams)
    batch_size = options.wav2lip_batch_size or (BATCH_CPU if precision.device.type == "cpu" else BATCH_GPU)
    expert = None if options.no_score else load_expert(Precision("auto", precision.device))
    batched = BatchedGenerator(fold_batch_norms(generator, precision), precision, batch_size)
    hashed = sha256(path)
    refiner = load_refiner(options.refine, path, hashed, Precision("auto", precision.device))
    return Networks(batched, hp, path, hashed, expert, refiner, options)


def load_refiner(wanted: str, generator: Path, generator_sha256: str, precision: Precision) -> FaceRefiner | None:
    """The refiner that `--refine` asks for. One that belongs to another generator is used only where it is named, with
    a warning."""
    if wanted == "off":
        return None
    if wanted != "auto":
        refiner = face_refiner.load(Path(wanted), precision)
        if refiner.generator != generator_sha256:
            print(f"warning: {wanted} was trained with another generator than {generator}", file=sys.stderr, flush=True)
        return refiner
    path = generator.with_name(PERSON)
    if not path.exists():
        return None
    refiner = face_refiner.load(path, precision)
    if refiner.generator != generator_sha256:
        return None
    print(f"refiner: {path}", flush=True)
    return refiner


def load_expert(precision: Precision) -> Expert | None:
    """The best expert that is there and can be read. A dub does not need one, so a damaged file is only a warning."""
    for path in filter(Path.exists, EXPERTS):
        try:
            return Expert.load(path, precision)
        except InputError as error:
            print(f"warning: no sync score by {error}", file=sys.stderr, flush=True)
    return None
