"""The trainings: the loop, networks under training, run folders, logs, losses. Here: the settings of
color_syncnet_train.py and wav2lip_train.py, and the hparams of each --preset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hparams import HParams
from utils.errors import InputError
from utils.settings import PRECISIONS, CommonOptions, option

# What both presets of our own share; docs/training.md has the figures
_RECIPE = {
    "single_frames": 34, "batch_size": 6, "other_mouth": 0.5, "mouth_wt": 6, "gradient_wt": 0.5,
    "syncnet_wt": 0.03, "sync_face_wt": 1, "sync_if_known": True,
    "clip_norm": 1, "ema": 0.997, "cosine_lr": True, "sampling": "people", "best_by": "mouth",
    "disc": "patch", "disc_initial_learning_rate": 1e-3,
}  # fmt: skip
_STRANGERS = _RECIPE | {
    "frames_first": 0.6667, "max_steps": 6000, "initial_learning_rate": 4e-4, "warmup_steps": 100, "disc_alone": 250,
    "augment_shape": 1, "augment_colour": 1, "augment_sound": 1, "eval_interval": 500, "checkpoint_interval": 500,
    "syncnet_pairs": "clip", "syncnet_batch_size": 80, "syncnet_lr": 3e-4, "syncnet_weight_decay": 0.01,
    "syncnet_eval_interval": 500, "syncnet_checkpoint_interval": 500,
}  # fmt: skip
_FINETUNE = _RECIPE | {
    "frames_first": 0.3333, "max_steps": 300, "initial_learning_rate": 1.5e-4, "warmup_steps": 10,
    "batch_size": 2, "single_frames": 22, "ema": 0.98, "freeze_batch_norm": True,
    "augment_shape": 0.4, "augment_colour": 0.3, "augment_sound": 0.5,
    "eval_interval": 400, "eval_early": True, "checkpoint_interval": 100, "patience": 3,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "published": {name: getattr(HParams(), name) for name in _STRANGERS | _FINETUNE},
    "strangers": _STRANGERS,
    "finetune": _FINETUNE,
}


def as_hparams(values: dict[str, Any]) -> str:
    """The text that --hparams takes: name=value,..."""
    return ",".join(f"{name}={value}" for name, value in values.items())


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(CommonOptions):
    """Settings of all trainings."""

    data_root: Path = option("the --preprocessed_root of preprocess.py")
    checkpoint_dir: Path = option("folder of the run: checkpoints, logs, samples")
    checkpoint_path: Path | None = option(
        "checkpoint to start from (default: the newest of the run)", None, common=True, weights=True
    )
    reset_optimizer: bool = option(
        "take only the weights of --checkpoint_path and count from step 0", False, common=True
    )
    filelists_dir: Path = option("folder of train.txt and eval.txt", Path("filelists"))
    preset: str | None = option(
        "hparams for a purpose. published: losses and learning rates of the published code; strangers: weights for "
        "people outside the training data, from clips of many people; finetune: five or more videos of one person, "
        "from existing weights", None, choices=tuple(PRESETS), common=True,
    )  # fmt: skip
    max_steps: int | None = option(
        "stop at this step (default: hparams max_steps)", None, unit="steps", minimum=1, common=True
    )
    max_minutes: float | None = option("stop after this time", None, unit="minutes", minimum=0.01, common=True)
    patience: int | None = option(
        "stop after N evaluations without improvement (default: hparams patience)", None, metavar="N", minimum=1
    )
    keep: int = option("number of checkpoints to keep", 5, metavar="N", minimum=1)
    num_workers: int | None = option("dataloader workers (default: hparams num_workers)", None, minimum=0)
    precision: str = option("dtype of the networks", "auto", choices=PRECISIONS)

    @property
    def hparams_overrides(self) -> str:
        """Changes to hparams.py: the preset's, then --hparams, then the flags'. --max_minutes replaces a preset's
        max_steps."""
        preset = dict(PRESETS[self.preset]) if self.preset else {}
        if preset and self.max_minutes:
            preset["max_steps"] = 0
        flags = {name: getattr(self, name) for name in ("max_steps", "patience", "num_workers")}
        given = {name: value for name, value in flags.items() if value is not None}
        return ",".join(filter(None, (as_hparams(preset), self.hparams, as_hparams(given))))


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(TrainingOptions):
    """Further settings of the generator's training."""

    syncnet_checkpoint_path: Path = option("lip-sync expert", weights=True)
    gan: bool = option("train with the visual-quality discriminator", False, common=True)
    disc_checkpoint_path: Path | None = option("discriminator to start from, with --gan", None, weights=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.disc_checkpoint_path and not self.gan:
            raise InputError("--disc_checkpoint_path: add --gan")
