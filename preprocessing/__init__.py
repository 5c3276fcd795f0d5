"""Raw videos to preprocessed clips, and the report on them. Here: the settings of preprocess.py."""

from dataclasses import dataclass
from pathlib import Path

from face_detection import DETECTORS
from models.published import PUBLISHED_EXPERT
from utils.errors import InputError
from utils.settings import CommonOptions, option, stream_option


@dataclass(frozen=True, kw_only=True)
class PreprocessingOptions(CommonOptions):
    """How raw videos become clips."""

    data_root: Path | None = option("folder of videos, flat or nested", None, common=True)
    preprocessed_root: Path = option("folder for the clips")
    filelists_dir: Path = option("folder for train.txt and eval.txt", Path("filelists"))
    report_only: bool = option("report on existing clips; make none", False, common=True)
    ngpu: int = option("GPUs to use, where there are any", 1, minimum=1)
    workers: int | None = option("processes (default: one per GPU, else one per core)", None, minimum=1, common=True)
    batch_size: int = option("frames that sfd detects faces in at once on a GPU", 32, minimum=1)
    face_detector: str = option("face detector", "auto", choices=DETECTORS, common=True)
    video_stream: int | None = stream_option("video track of the files")
    audio_stream: int | None = stream_option("audio track of the files")
    accept_dubs: bool = option("also make clips of videos dubbed by inference.py", False)
    syncnet_checkpoint_path: Path | None = option(
        f"lip-sync expert that measures the sound's offset (default: checkpoints/{PUBLISHED_EXPERT.name} if it exists)",
        None, weights=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_root is None and not self.report_only:
            raise InputError("--data_root: give the folder of videos, or --report_only for existing clips")
