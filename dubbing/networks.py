"""The networks of a dub, which many dubs share."""

from dataclasses import dataclass, replace
from pathlib import Path

from dubbing.options import Options
from hparams import HParams
from metrics.sync import Expert, load_expert
from models.backend import ArrayNetwork, Backend, load, pick
from models.published import BUNDLED_GENERATOR, EXPERTS, PUBLISHED, default_generator, ensure_weights
from utils.errors import InputError, warn
from utils.files import sha256
from utils.progress import doing

BUNDLED = "bundled: for trying out, not for delivery; better ones: docs/weights.md"
SETTINGS = (
    "checkpoint_path", "hparams", "device", "engine", "precision", "wav2lip_batch_size", "no_score", "own_pixels",
    "mouths_from", "speaking_only",
)  # fmt: skip


@dataclass(frozen=True)
class Networks:
    generator: ArrayNetwork
    hp: HParams  # of the generator, like path and sha256
    path: Path
    sha256: str
    backend: Backend  # of the generator, without "auto"
    expert: Expert | None  # scores the sync and finds own pixels, where there is one
    own_pixels: bool  # whether dubs take mouths from other moments of the video
    options: Options  # what the networks were loaded with
    files: dict[Path, tuple]  # state of all files that they may be in

    def summary(self) -> str:
        """Which weights these are, in a line; of bundled ones, what they are good for."""
        if self.path == BUNDLED_GENERATOR:
            return f"weights: {self.path.name} ({BUNDLED})"
        return f"weights: {self.path}"

    def fit(self, options: Options) -> bool:
        """Whether dubs with these options use the same networks, of files that have not been replaced since."""
        same = all(getattr(options, name) == getattr(self.options, name) for name in SETTINGS)
        return same and self.files == _files(options)


def load_networks(options: Options) -> Networks:
    """The generator, and an expert if one exists. Raises InputError for files that hold something else."""
    options = ensure_weights(options)
    with doing("reading the weights"):
        backend, files = pick(options.engine, options.precision, options.device), _files(options)
        path = options.checkpoint_path or default_generator()
        loaded = load("generator", path, backend, options.hparams, options.wav2lip_batch_size)
        used = loaded.backend
        insisted = options.own_pixels == "on" or options.mouths_from is not None
        digest, published = sha256(path), {file.sha256 for file in PUBLISHED}
        own = insisted or (options.own_pixels == "auto" and digest not in published)
        wanted = own or options.speaking_only or not options.no_score
        expert = best_expert(replace(used, dtype="auto")) if wanted else None
    return Networks(loaded.networks[0], loaded.hp, path, digest, used, expert, own, options, files)


def _files(options: Options) -> dict[Path, tuple]:
    """Number, size and time of change of all files that networks for these options may be in."""
    path = options.checkpoint_path or default_generator()
    states = {file: file.stat() for file in (path, *EXPERTS) if file.exists()}
    return {file: (state.st_ino, state.st_size, state.st_mtime_ns) for file, state in states.items()}


def best_expert(backend: Backend) -> Expert | None:
    """The first expert that can be read. A dub does not need one, so a damaged file is only a warning."""
    for path in filter(Path.exists, EXPERTS):
        try:
            return load_expert(path, backend)
        except InputError as error:
            warn(f"no sync score by {error}")
    return None
