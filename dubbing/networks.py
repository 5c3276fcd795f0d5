"""The networks of a dub, which many dubs share."""

from dataclasses import dataclass, replace
from pathlib import Path

from dubbing.options import Options
from hparams import HParams
from metrics.sync import Expert, load_expert
from models import face_refiner
from models.backend import ArrayNetwork, Backend, load, pick
from models.face_refiner import PERSON, FaceRefiner
from models.published import BUNDLED_GENERATOR, EXPERTS, default_generator, ensure_weights
from utils.errors import InputError, warn
from utils.files import existing_file, sha256
from utils.progress import doing

BUNDLED = "bundled: for trying out, not for delivery; better ones: docs/weights.md"
RUN = "run.json"  # in the folder of a training run
SETTINGS = (
    "checkpoint_path", "hparams", "device", "engine", "precision", "wav2lip_batch_size", "no_score", "refine",
    "own_pixels", "mouths_from",
)  # fmt: skip


@dataclass(frozen=True)
class Networks:
    generator: ArrayNetwork
    hp: HParams  # of the generator, like path and sha256
    path: Path
    sha256: str
    backend: Backend  # of the generator, without "auto"
    expert: Expert | None  # scores the sync and finds own pixels, where there is one
    refiner: FaceRefiner | None  # sharpens the mouths, if asked for
    own_pixels: bool  # whether dubs take mouths from other moments of the video
    options: Options  # what the networks were loaded with
    files: dict[Path, tuple]  # state of all files that they may be in

    def summary(self) -> str:
        """Which weights these are, in a line; of bundled ones, what they are good for."""
        refiner = f"; refiner: {self.refiner.path}" if self.refiner else ""
        if self.path == BUNDLED_GENERATOR:
            return f"weights: {self.path.name} ({BUNDLED}){refiner}"
        return f"weights: {self.path}{refiner}"

    def fit(self, options: Options) -> bool:
        """Whether dubs with these options use the same networks, of files that have not been replaced since."""
        same = all(getattr(options, name) == getattr(self.options, name) for name in SETTINGS)
        return same and self.files == _files(options)


def load_networks(options: Options) -> Networks:
    """The generator, and expert and refiner if they exist. Raises InputError for files that hold something else."""
    options = ensure_weights(options)
    with doing("reading the weights"):
        backend, files = pick(options.engine, options.precision, options.device), _files(options)
        path = options.checkpoint_path or default_generator()
        loaded = load("generator", path, backend, options.hparams, options.wav2lip_batch_size)
        used = loaded.backend
        others = replace(used, dtype="auto") if used.dtype == "int8" else used  # other networks are not made int8
        insisted = options.own_pixels == "on" or options.mouths_from is not None
        refine = "off" if insisted else options.refine
        refiner = load_refiner(refine, path, loaded.fingerprint, others)
        own = insisted or (options.own_pixels == "auto" and path == BUNDLED_GENERATOR and not refiner)
        expert = best_expert(replace(used, dtype="auto")) if own or not options.no_score else None
    return Networks(loaded.networks[0], loaded.hp, path, sha256(path), used, expert, refiner, own, options, files)


def _files(options: Options) -> dict[Path, tuple]:
    """Number, size and time of change of all files that networks for these options may be in."""
    path = options.checkpoint_path or default_generator()
    refiners = {"off": [], "auto": _persons(path)}.get(options.refine, [Path(options.refine)])
    states = {file: file.stat() for file in (path, *EXPERTS, *refiners) if file.exists()}
    return {file: (state.st_ino, state.st_size, state.st_mtime_ns) for file, state in states.items()}


def load_refiner(wanted: str, path: Path, fingerprint: str, backend: Backend) -> FaceRefiner | None:
    """The refiner that `--refine` asks for, for the generator in the file `path` with this fingerprint. One that was
    trained with another generator is used only if --refine names it, with a warning."""
    if wanted not in ("off", "auto"):
        refiner = face_refiner.load(existing_file(Path(wanted), "--refine"), backend)
        if refiner.generator != fingerprint:
            warn(f"{wanted} was trained with another generator than {path}")
        return refiner
    persons = _persons(path) if wanted == "auto" else []
    ours = [file for file in persons if face_refiner.generator_of(file) == fingerprint]
    if path.with_name(PERSON) in persons and not ours:
        warn(
            f"not refined: {persons[0]} is damaged, or was trained with another generator than {path}; --refine can "
            "name it"
        )
    ours = [file for file in ours if file.parent.parent == path.resolve().parent] or ours  # inside the run's folder
    if len(ours) > 1:
        warn(f"not refined: {', '.join(map(str, ours))} are all of {path}; --refine can name one")
    return face_refiner.load(ours[0], backend) if len(ours) == 1 else None


def _persons(path: Path) -> list[Path]:
    """The person's file beside a generator. Else, if the generator is of a training run, those in folders inside the
    run's, such as `refiner`, and in folders next to it."""
    beside, folder = path.with_name(PERSON), path.resolve().parent
    if beside.exists():
        return [beside]
    if not path.with_name(RUN).exists():
        return []
    return [*sorted(folder.glob(f"*/{PERSON}")), *sorted(folder.parent.glob(f"*/{PERSON}"))]


def best_expert(backend: Backend) -> Expert | None:
    """The best installed expert that can be read. A dub does not need one, so a damaged file is only a warning."""
    for path in filter(Path.exists, EXPERTS):
        try:
            return load_expert(path, backend)
        except InputError as error:
            warn(f"no sync score by {error}")
    return None
