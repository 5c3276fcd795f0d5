"""Settings of color_syncnet_train.py, wav2lip_train.py and refiner_train.py."""

from dataclasses import dataclass
from pathlib import Path

from training.presets import PRESETS
from utils.errors import InputError
from utils.options import PRECISIONS, CommonOptions, option


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
        "hparams for a purpose. " + "; ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items()), None,
        choices=tuple(PRESETS), common=True,
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
        """The changes to hparams.py: the preset's, then --hparams, then those that have a flag of their own. Where
        minutes are given the preset's steps do not end the run."""
        preset = dict(PRESETS[self.preset].values) if self.preset else {}
        if preset and self.max_minutes:
            preset["max_steps"] = "0"
        flags = {name: getattr(self, name) for name in ("max_steps", "patience", "num_workers")}
        own = [f"{name}={value}" for name, value in flags.items() if value is not None]
        return ",".join([*(f"{name}={value}" for name, value in preset.items()), self.hparams, *own])


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


@dataclass(frozen=True, kw_only=True)
class RefinerOptions(TrainingOptions):
    """Further settings of the refiner's training."""

    generator_path: Path | None = option(
        "generator whose faces are refined (default: as in inference.py)", None, weights=True
    )
    syncnet_checkpoint_path: Path | None = option(
        "lip-sync expert for evaluations (default: the best installed)", None, weights=True
    )
    bank: str = option(
        "references: one bank of all clips of the person, or one per clip, for a refiner of any person", "person",
        choices=("person", "clip"),
    )  # fmt: skip
