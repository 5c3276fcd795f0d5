"""The folder of a training run, --checkpoint_dir: where the run starts from, what it writes, how it went.

checkpoint_step<step>.pth   numbered, the newest few (--keep); disc_checkpoint_step<step>.pth beside them
best.pth                    weights of the best evaluation, without optimizer state; of step 0 where none was better
run.json                    what is trained there
logs/, samples/             TensorBoard, pictures
"""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from training import TrainingOptions
from utils import weight_files
from utils.errors import InputError
from utils.files import exclusive_lock, read_json, write_json

NUMBERED = "checkpoint_step{:09d}.pth"
PATTERN = "checkpoint_step" + "[0-9]" * 9 + ".pth"
RECORD, STARTED_FROM = "run.json", "started_from"  # the latter in the former: the checkpoint that began the run
BEST = "best.pth"
SAMPLES = "samples/step{:09d}"  # .png, .mp4
OUTPUTS = (BEST, "summary.json", "summary.html")  # besides numbered checkpoints


def check_folder(folder: Path, network: str) -> None:
    """Raise InputError where a run of this network would overwrite files of another run, or of no run."""
    if not (folder / RECORD).exists():
        theirs = [name for name in OUTPUTS if (folder / name).exists()]
        if theirs and not any(folder.glob(PATTERN)):  # a numbered checkpoint is checked when it is read
            raise InputError(
                f"--checkpoint_dir {folder}: holds {', '.join(theirs)}, which would be overwritten; give another folder"
            )
    saved = read_record(folder).get("network", network)
    if saved != network:
        raise InputError(
            f"--checkpoint_dir {folder}: holds a run of another network ({saved}, here {network}); give another folder"
        )


def locked(folder: Path, flag: str) -> AbstractContextManager:
    """A block in which no other training can write into the folder; the main process takes the lock."""
    return exclusive_lock(folder, flag) if os.environ.get("RANK", "0") == "0" else nullcontext()


def read_record(folder: Path) -> dict[str, str]:
    """The content of run.json, {} where there is none."""
    path = folder / RECORD
    return read_json(path, "delete it to resume the run") if path.exists() else {}


def write_record(folder: Path, record: dict[str, str]) -> None:
    write_json(folder / RECORD, read_record(folder) | record)


def newest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob(PATTERN), default=None)


def starting_point(options: TrainingOptions) -> tuple[Path | None, bool]:
    """The checkpoint to start from, None for none, and whether only its weights are taken.

    A folder with a run is resumed from its newest checkpoint, by the command that began the run, too. Any other start
    is refused there: its steps would mix with those of the newer checkpoints.
    """
    folder, given = options.checkpoint_dir, options.checkpoint_path
    newest = newest_checkpoint(folder)
    if newest is None:
        return given, options.reset_optimizer
    began_the_run = given is not None and str(given.resolve()) == read_record(folder).get(STARTED_FROM)
    is_newest = not options.reset_optimizer and (given is None or given.resolve() == newest.resolve())
    if not (began_the_run or is_newest):
        raise InputError(
            f"--checkpoint_dir {folder}: holds a run already, up to {newest.name}; to resume it leave out "
            "--checkpoint_path and --reset_optimizer, to start from another checkpoint give another folder"
        )
    print(f"resumes from {newest}", flush=True)
    return newest, False


def read_checkpoint(path: Path) -> dict:
    """The content of a weight file. Where a numbered checkpoint is damaged, the error names the one before it."""
    try:
        return weight_files.read(path)
    except InputError as error:
        name = path.name.removeprefix("disc_")
        if not path.exists() or not path.with_name(name).match(PATTERN):
            raise
        earlier = max((other.name for other in path.parent.glob(PATTERN) if other.name < name), default=None)
        damaged = "it" if name == path.name else f"it and {name}"
        remedy = f"delete {damaged} to resume from {earlier}" if earlier else "there is no earlier one; start again"
        raise InputError(f"{path}: is damaged; {remedy}") from error


def beside(generator: Path) -> Path:
    """Where the discriminator of a generator's checkpoint is saved."""
    return generator.with_name(f"disc_{generator.name}")


def has_best(folder: Path) -> bool:
    """Whether best.pth is there. Raises InputError where it is damaged."""
    path = folder / BEST
    try:
        return path.exists() and bool(weight_files.read(path))
    except InputError as error:
        raise InputError(f"{path}: is damaged; delete it, and the next better evaluation writes it again") from error


def delete(folder: Path, step: int) -> None:
    """Delete a numbered checkpoint."""
    path = folder / NUMBERED.format(step)
    path.unlink(missing_ok=True)
    beside(path).unlink(missing_ok=True)
