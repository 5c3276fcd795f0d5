"""The directory of one training run, --checkpoint_dir: where it starts from, what it leaves there, how it went.

checkpoint_step<step>.pth   numbered, the newest few (--keep); disc_checkpoint_step<step>.pth beside them
best.pth                    the weights of the best evaluation, without the optimizer's state; those that the run
                            started from, as of step 0, where none was better
run.json                    what is trained there
logs/, samples/             TensorBoard, pictures
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from training.options import TrainingOptions
from utils import weight_files
from utils.errors import InputError
from utils.files import only_user, read_json, write_json

NUMBERED = "checkpoint_step{:09d}.pth"
PATTERN = "checkpoint_step" + "[0-9]" * 9 + ".pth"
RECORD = "run.json"
BEST = "best.pth"
WRITTEN = (BEST, "person.safetensors", "summary.json", "summary.html")  # by runs, besides numbered checkpoints


def check(folder: Path, record: dict[str, str]) -> None:
    """Whether a run of this record may write into the folder: into a new one, or one of a run whose record agrees.
    Else InputError: another run's files, or somebody's, would be overwritten."""
    path = folder / RECORD
    if not path.exists():
        theirs = [name for name in WRITTEN if (folder / name).exists()]
        if theirs and not any(folder.glob(PATTERN)):  # numbered checkpoints say what they are of when they are read
            raise InputError(
                f"--checkpoint_dir {folder}: holds {', '.join(theirs)}, which would be overwritten; give another folder"
            )
        return
    there = read_record(folder)
    for name, value in record.items():
        if there.get(name, value) != value:
            raise InputError(
                f"--checkpoint_dir {folder}: holds a run of another {name} ({there[name]}, here {value}); go on with "
                "that one's, or give another folder"
            )


def claimed(folder: Path, flag: str) -> AbstractContextManager:
    """Within the block no other training can write into the folder; of several processes the main one claims it."""
    return only_user(folder, flag) if os.environ.get("RANK", "0") == "0" else nullcontext()


def read_record(folder: Path) -> dict[str, str]:
    """The record of the run in a folder, {} where there is none."""
    path = folder / RECORD
    return read_json(path, "delete it to go on with the run") if path.exists() else {}


def write_record(folder: Path, record: dict[str, str]) -> None:
    """Note what is trained in the folder."""
    write_json(folder / RECORD, read_record(folder) | record)


def newest_checkpoint(folder: Path) -> Path | None:
    """That the run in the folder goes on from, None where it has none yet."""
    return max(folder.glob(PATTERN), default=None)


def starting_point(options: TrainingOptions) -> tuple[Path | None, bool]:
    """The checkpoint to start from, None for none, and whether to take its weights alone.

    Without --checkpoint_path a run resumes from its newest checkpoint. Another one is refused in a directory that holds
    a run: its checkpoints would mix with the newer ones.
    """
    newest = newest_checkpoint(options.checkpoint_dir)
    if newest is None:
        return options.checkpoint_path, options.reset_optimizer
    if options.reset_optimizer:
        raise InputError(
            f"--checkpoint_dir {options.checkpoint_dir}: holds a run already ({newest.name}); to go on with it leave "
            "out --checkpoint_path and --reset_optimizer, to start anew give another folder"
        )
    given = options.checkpoint_path
    if given is not None and given.resolve() != newest.resolve():
        raise InputError(
            f"--checkpoint_path {given}: --checkpoint_dir {options.checkpoint_dir} holds a run up to {newest.name}; to "
            "go on with that leave out --checkpoint_path, to go on from another give another --checkpoint_dir"
        )
    print(f"goes on from {newest}", flush=True)
    return newest, False


def read_checkpoint(path: Path) -> dict:
    """weight_files.read, but that the error about a numbered checkpoint names an earlier one that is whole."""
    try:
        return weight_files.read(path)
    except InputError as error:
        name = path.name.removeprefix("disc_")
        if not path.exists() or not path.with_name(name).match(PATTERN):
            raise
        earlier = sorted((other for other in path.parent.glob(PATTERN) if other.name < name), reverse=True)
        whole = next(filter(_is_whole, earlier), None)
        both_files = "it" if name == path.name else f"it and {name}"
        go_on = f"delete {both_files} to go on from {whole.name}" if whole else "no earlier one is whole; start again"
        raise InputError(f"{path}: is damaged; {go_on}") from error


def _is_whole(checkpoint: Path) -> bool:
    """Whether it can be read, and the discriminator's where it has one."""
    try:
        return all(weight_files.read(path) for path in both(checkpoint) if path.exists())
    except InputError:
        return False


def both(checkpoint: Path) -> tuple[Path, Path]:
    """The checkpoint and that of its discriminator."""
    return checkpoint, checkpoint.with_name(f"disc_{checkpoint.name}")


def check_best(folder: Path) -> bool:
    """Whether a run has its best weights in the folder. Raises InputError where they are damaged."""
    path = folder / BEST
    try:
        return path.exists() and bool(weight_files.read(path))
    except InputError as error:
        raise InputError(f"{path}: is damaged; delete it, and later evaluations decide what is kept there") from error


class History:
    """How a run went: the losses and scores at every evaluation, and which numbered checkpoints it has written.

    content: of the checkpoint that it goes on from; objective: evaluation scores -> the number that the best weights
    have least of; better: scores of the start, other scores -> whether these are better, without which they are never
    the best; goes_on: whether that checkpoint lies in the run's own directory, so that the files it names may be
    deleted; lost: whether the best weights are no longer there.
    """

    def __init__(
        self,
        content: dict,
        objective: Callable[[dict], float],
        better: Callable[[dict, dict], bool],
        goes_on: bool,
        lost: bool,
    ) -> None:
        self.entries: list[dict] = content.get("history", [])
        self.saved: list[int] = content.get("saved", []) if goes_on else []
        self.objective, self.better = objective, better
        self.best_step: int | None = None if lost else content.get("best_step")
        self._unknown = not lost and "best_step" not in content  # as in checkpoints of earlier versions

    def add(self, step: int, losses: dict, scores: dict) -> bool:
        """Note an evaluation; returns whether it is the best so far."""
        if self._unknown and self.entries:
            self.best_step = self._lowest()["step"]
        self._unknown = False
        if best := self.is_best(scores):
            self.best_step = step
        self.entries.append({"step": step, "losses": losses, "scores": scores})
        return best

    def is_best(self, scores: dict) -> bool:
        if not self.entries:
            return True
        if not self.better(self.entries[0]["scores"], scores):
            return False
        return self.best_step is None or self.objective(scores) < self.objective(self.best()["scores"])

    def best(self) -> dict:
        """The evaluation of the weights that are kept as the best; the first where there are none."""
        return next((entry for entry in self.entries if entry["step"] == self.best_step), self.entries[0])

    def since_lowest(self) -> int:
        """How many evaluations ago the objective was least."""
        return len(self.entries) - 1 - self.entries.index(self._lowest())

    def _lowest(self) -> dict:
        return min(self.entries, key=lambda entry: self.objective(entry["scores"]))

    def delete_old(self, folder: Path, keep: int) -> None:
        """Delete checkpoints that this run has written, all but the newest `keep`."""
        while len(self.saved) > keep:
            name = NUMBERED.format(self.saved.pop(0))
            for path in both(folder / name):
                path.unlink(missing_ok=True)


def write_checkpoints(folder: Path, name: str, parts: dict[str, dict]) -> None:
    """Write each part under its prefix and the name: the run's own, of prefix "", last, so that it is never alone."""
    for prefix, content in sorted(parts.items(), reverse=True):
        weight_files.write(folder / f"{prefix}{name}", content)
