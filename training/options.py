"""Settings of color_syncnet_train.py and wav2lip_train.py."""

from dataclasses import dataclass
from pathlib import Path

from utils.devices import PRECISIONS
from utils.errors import InputError
from utils.options import CommonOptions, option


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(CommonOptions):
    """What both trainings take."""

    data_root: Path = option("the --preprocessed_root of preprocess.py")
    checkpoint_dir: Path = option("the run: checkpoints, logs, samples")
    checkpoint_path: Path | None = option("start here; else from the newest in --checkpoint_dir", None)
    reset_optimizer: bool = option("take only its weights and count from step 0", False)
    filelists_dir: Path = option("where train.txt and eval.txt are", Path("filelists"))
    max_steps: int | None = option("stop at this step; else by hparams nepochs", None, unit="steps", minimum=1)
    patience: int | None = option("stop after N evaluations without a better one", None, metavar="N", minimum=1)
    keep: int = option("numbered checkpoints to keep", 5, metavar="N", minimum=1)
    num_workers: int | None = option("loader processes; else hparams num_workers", None, minimum=0)
    precision: str = option("number format of the networks", "auto", choices=PRECISIONS)

    @property
    def hparams_overrides(self) -> str:
        """The changes to hparams.py, --num_workers among them."""
        return self.hparams if self.num_workers is None else f"{self.hparams},num_workers={self.num_workers}"


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(TrainingOptions):
    """What the generator's training takes besides."""

    syncnet_checkpoint_path: Path = option("the lip-sync expert")
    gan: bool = option("train with the visual-quality discriminator", False)
    disc_checkpoint_path: Path | None = option("discriminator to start from, with --gan", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.disc_checkpoint_path and not self.gan:
            raise InputError("--disc_checkpoint_path: add --gan")
