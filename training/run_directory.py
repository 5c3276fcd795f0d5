"""The directory of one training run, --checkpoint_dir: where it starts from, what it leaves there, how it went.

checkpoint_step<step>.pth   numbered, the newest few (--keep); disc_checkpoint_step<step>.pth beside them
best.pth                    the weights of the best evaluation, without the optimizer's state
logs/, samples/             TensorBoard, pictures
"""

import os
from collections.abc import Callable
from pathlib import Path

from training.options import TrainingOptions
from utils import weight_files
from utils.errors import InputError

NUMBERED = "checkpoint_step{:09d}.pth"
PATTERN = "checkpoint_step" + "[0-9]" * 9 + ".pth"


def starting_point(options: TrainingOptions) -> tuple[Path | None, bool]:
    """The checkpoint to start from, None for none, and whether to take its weights alone.

    Without --checkpoint_path a run goes on from its newest checkpoint; so does a process that torchrun restarted,
    whatever its command line says. Another checkpoint than the newest is refused in a directory that holds a run: what
    follows from it would be mixed with the newer ones.
    """
    newest = max(options.checkpoint_dir.glob(PATTERN), default=None)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if newest is None:
        return options.start, options.weights_only
    if restarted:
        print(f"goes on from {newest}", flush=True)
        return newest, False
    if options.weights_only:
        raise InputError(
            f"--checkpoint_dir {options.checkpoint_dir}: holds a run already ({newest.name}); to go on with it leave "
            "out the weights to start from and --reset_optimizer, to start anew give another folder"
        )
    given = options.start
    if given is not None and given.resolve() != newest.resolve():
        raise InputError(
            f"--checkpoint_path {given}: --checkpoint_dir {options.checkpoint_dir} holds a run up to {newest.name}; to "
            "go on with that leave out --checkpoint_path, to go on from another give another --checkpoint_dir"
        )
    print(f"goes on from {newest}", flush=True)
    return newest, False


class History:
    """How a run went: the losses and scores at every evaluation, and which numbered checkpoints it has written.

    content: of the checkpoint that it goes on from; objective: evaluation scores -> the number that the best weights
    have least of; goes_on: whether that checkpoint lies in the run's own directory, so that the files it names may be
    deleted.
    """

    def __init__(self, content: dict, objective: Callable[[dict], float], goes_on: bool) -> None:
        self.entries: list[dict] = content.get("history", [])
        self.saved: list[int] = content.get("saved", []) if goes_on else []
        self.objective = objective

    def add(self, step: int, losses: dict, scores: dict) -> bool:
        """Note an evaluation; returns whether it is the best so far."""
        self.entries.append({"step": step, "losses": losses, "scores": scores})
        return self.since_best() == 0

    def best(self) -> dict:
        return min(self.entries, key=lambda entry: self.objective(entry["scores"]))

    def since_best(self) -> int:
        """How many evaluations ago the best was."""
        return len(self.entries) - 1 - self.entries.index(self.best())

    def delete_old(self, folder: Path, keep: int) -> None:
        """Delete checkpoints that this run has written, all but the newest `keep`."""
        while len(self.saved) > keep:
            name = NUMBERED.format(self.saved.pop(0))
            for path in (folder / name, folder / f"disc_{name}"):
                path.unlink(missing_ok=True)


def write_checkpoints(folder: Path, name: str, parts: dict[str, dict]) -> None:
    """Write each part under its prefix and the name: the run's own, of prefix "", last, so that it is never alone."""
    for prefix, content in sorted(parts.items(), reverse=True):
        weight_files.write(folder / f"{prefix}{name}", content)
