"""Settings of preprocess.py."""

from dataclasses import dataclass
from pathlib import Path

from face_detection import DETECTORS
from models.published import PUBLISHED_EXPERT
from utils.errors import InputError
from utils.options import CommonOptions, option


@dataclass(frozen=True, kw_only=True)
class PreprocessingOptions(CommonOptions):
    """How raw videos become clips."""

    data_root: Path | None = option("folder of videos, flat or nested", None, common=True)
    preprocessed_root: Path = option("where the clips go")
    filelists_dir: Path = option("where the lists go", Path("filelists"))
    report_only: bool = option("measure and report on the clips that are there, make none", False, common=True)
    ngpu: int = option("GPUs to use, where there are any", 1, minimum=1)
    workers: int | None = option("processes; else one per GPU, without any one per core", None, minimum=1, common=True)
    batch_size: int = option("detected at once", 32, unit="frames", minimum=1)
    face_detector: str = option("what finds the faces", "auto", choices=DETECTORS, common=True)
    video_stream: int | None = option(
        "which of several videos in one file, from 0; else the one marked as default, or the first", None, metavar="N",
        minimum=0,
    )  # fmt: skip
    audio_stream: int | None = option(
        "sound track of the videos, from 0; else the one marked as default, or the first", None, metavar="N", minimum=0
    )
    accept_dubs: bool = option("make clips of videos, too, that inference.py has dubbed", False)
    syncnet_checkpoint_path: Path | None = option(
        f"lip-sync expert that measures the sound's offset; else {PUBLISHED_EXPERT.name} in checkpoints, where it is",
        None,
        weights=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_root is None and not self.report_only:
            raise InputError("--data_root: give the folder of videos, or --report_only to look at clips that are there")
