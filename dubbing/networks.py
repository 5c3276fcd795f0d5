"""The networks of a dub, which many dubs share."""

from dataclasses import dataclass
from pathlib import Path

from dubbing.options import Options
from hparams import HParams
from metrics.experts import Expert
from models import Wav2Lip
from models.batched_generator import BatchedGenerator, fold_batch_norms
from models.checkpoint import load_network
from models.published import default_expert, default_generator
from utils.devices import Precision, pick_device
from utils.files import sha256

BATCH_CPU, BATCH_GPU = 16, 128


@dataclass(frozen=True)
class Networks:
    """hp, path, sha256: of the generator; expert: what scores the sync, where there is one."""

    generator: BatchedGenerator
    hp: HParams
    path: Path
    sha256: str
    expert: Expert | None


def load_networks(options: Options) -> Networks:
    """The generator, and the expert that is there. Raises InputError for files that hold something else."""
    precision = Precision(options.precision, pick_device(options.device))
    path = options.checkpoint_path or default_generator()
    if not options.checkpoint_path:
        print(f"generator: {path}", flush=True)
    generator, hp = load_network(path, Wav2Lip, options.hparams)
    batch_size = options.wav2lip_batch_size or (BATCH_CPU if precision.device.type == "cpu" else BATCH_GPU)
    expert_path = default_expert()
    expert = Expert.load(expert_path, Precision("auto", precision.device)) if expert_path else None
    batched = BatchedGenerator(fold_batch_norms(generator, precision), precision, batch_size)
    return Networks(batched, hp, path, sha256(path), expert)
