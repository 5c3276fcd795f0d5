"""Settings of evaluate.py."""

from dataclasses import dataclass
from pathlib import Path

from face_detection import DETECTORS
from utils.errors import InputError
from utils.options import CommonOptions, option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(CommonOptions):
    """What is scored: one video, a folder or a list of videos, or a generator on preprocessed clips."""

    video: Path | None = option("a video, or a folder of videos", None, common=True)
    list: Path | None = option("CSV or JSON list of videos with their sounds and references", None, common=True)
    audio: Path | None = option("sound to compare with, from its start on; else the video's own", None, common=True)
    audio_stream: int | None = option(
        "sound track of that file, from 0; else the one marked as default, or the first", None, metavar="N", minimum=0
    )
    reference: Path | None = option("what the video should look like: the original", None, common=True)
    generator: Path | None = option(
        "score these generator weights, on the clips of --data_root", None, common=True, weights=True
    )
    data_root: Path | None = option("the --preprocessed_root of preprocess.py", None, common=True)
    filelists_dir: Path = option("where eval.txt is", Path("filelists"))
    syncnet_checkpoint_path: tuple[Path, ...] | None = option(
        "scorers; else all there are, for --generator the bundled expert",
        None,
        metavar="WEIGHTS",
        common=True,
        weights=True,
    )
    outfile: Path | None = option(
        "JSON to write; else results/scores.json, or results/generator.json", None, common=True
    )
    face_detector: str = option("what finds the faces", "auto", choices=DETECTORS)
    face_det_batch_size: int = option("detected at once", 16, unit="frames", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(given is not None for given in (self.video, self.list, self.generator)) != 1:
            raise InputError("give one of --video, --list and --generator")
        if (self.generator is None) != (self.data_root is None):
            raise InputError("--generator and --data_root belong together: the clips that the generator redraws")
        if self.video is None and (self.audio or self.reference):
            raise InputError("--audio and --reference belong to --video; a --list names its own")
        if self.outfile is not None and self.outfile.suffix != ".json":
            raise InputError(f"--outfile {self.outfile}: give a name that ends in .json")
