"""How well lips and speech fit, how similar a mouth is to the true one: videos, and generators on held-out clips. Here:
the settings of evaluate.py."""

from dataclasses import dataclass
from pathlib import Path

from face_detection import DETECTORS
from utils.errors import InputError
from utils.settings import CommonOptions, option, stream_option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(CommonOptions):
    """What is scored: one video, a folder or a list of videos, or a generator on preprocessed clips."""

    video: Path | None = option("video, or folder of videos", None, common=True)
    list: Path | None = option("CSV or JSON list: columns video, audio, reference", None, common=True)
    audio: Path | None = option("sound to compare with from its start (default: the video's own)", None, common=True)
    audio_stream: int | None = stream_option("audio track of that file")
    reference: Path | None = option("the original: what the video should look like", None, common=True)
    generator: Path | None = option("generator weights to score on the clips of --data_root", None, common=True,
                                    weights=True)  # fmt: skip
    data_root: Path | None = option("the --preprocessed_root of preprocess.py", None, common=True)
    filelists_dir: Path = option("folder of eval.txt", Path("filelists"))
    syncnet_checkpoint_path: tuple[Path, ...] | None = option(
        "scorers (default: all installed, for --generator the bundled expert)", None, metavar="WEIGHTS", common=True,
        weights=True,
    )  # fmt: skip
    outfile: Path | None = option(
        "JSON to write (default: results/scores.json or results/generator.json)", None, common=True
    )
    face_detector: str = option("face detector", "auto", choices=DETECTORS)
    face_det_batch_size: int = option("frames that sfd detects faces in at once on a GPU", 16, minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(given is not None for given in (self.video, self.list, self.generator)) != 1:
            raise InputError("give one of --video, --list and --generator")
        if (self.generator is None) != (self.data_root is None):
            raise InputError("--generator and --data_root: give both; the generator is scored on those clips")
        if self.video is None and (self.audio or self.reference):
            raise InputError("--audio and --reference: give them with --video; a --list names its own")
        if self.outfile is not None and self.outfile.suffix != ".json":
            raise InputError(f"--outfile {self.outfile}: give a name that ends in .json")
