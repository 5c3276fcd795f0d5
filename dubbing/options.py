"""Settings of a dub; the flags of inference.py, the columns of a list of jobs and docs/cli.md are made from them."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_detection import DETECTORS
from media.formats import CODECS, DEINTERLACE
from models.engines.choice import ENGINES
from utils.errors import InputError
from utils.options import PRECISIONS, CommonOptions, option, parse_scalar
from utils.options import Options as BaseOptions

if TYPE_CHECKING:
    from dubbing.source import FrameTransform

STYLES = ("soft", "box")  # of --paste
EXTENSIONS = ("loop", "pingpong", "hold")  # of --extend
SIDES = ("TOP", "BOTTOM", "LEFT", "RIGHT")
OUTFILE = Path("results/result_voice.mp4")  # the published default
PREVIEW, SHORTEST_PREVIEW = 5.0, 0.1  # seconds, of --preview without a value, and with one
SOURCE_FPS, FPS_RANGE = "source", (1, 1000)  # what --fps takes besides numbers, and which numbers
DETECT = (-1, -1, -1, -1)  # the published way of giving no --box


@dataclass(frozen=True, kw_only=True)
class Request(BaseOptions):
    """What inference.py is asked for, beside how it is done."""

    face: Path | None = option("video or picture with the face", None, common=True)
    audio: Path | None = option("any sound or video file with the speech", None, common=True)
    outfile: Path | None = option(
        f"video to write, or a folder; else {OUTFILE.as_posix()}", None, common=True,
        aliases=("--out-file", "--out_file"),
    )  # fmt: skip
    jobs: Path | None = option(
        "CSV or JSON list of dubs, each with face, audio and other flags by name", None, metavar="LIST", common=True
    )
    check: bool = option(
        "no dub: what is wrong with the footage, what the mouth will look like, how long a dub will take", False,
        common=True,
    )  # fmt: skip
    still: bool = option(
        "no dub: one frame of it beside its source, as PNG, the fastest way to try settings", False, common=True
    )
    demo: bool = option("dub two bundled clips, score them and make a page that shows them", False, common=True)
    json: bool = option("print what was done as JSON, a line per dub, and all else on stderr", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = [name for name in ("demo", "jobs", "check", "still") if getattr(self, name)]
        if len(asked) > 1:
            raise InputError(f"--{asked[0]} and --{asked[1]}: give one of them")
        if self.jobs and (self.face or self.audio):
            raise InputError(f"--{'face' if self.face else 'audio'}: is in the list of --jobs; leave one of them out")


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Every setting of a dub."""

    checkpoint_path: Path | None = option(
        "generator weights; else published ones that are there, else bundled", None, common=True, weights=True
    )
    static: bool = option("use the first frame only", False)
    fps: str = option(
        "frame rate of a picture, and of a video slower than 24, whose frames are repeated, each with a new mouth; "
        "source: a slow video keeps its rate", "25", unit="frames a second", metavar="N|source",
    )  # fmt: skip
    pads: tuple[int, int, int, int] = option(
        "added to the face box; more at the bottom takes in the chin",
        (0, 10, 0, 0),
        unit="pixels",
        metavar=SIDES,
        common=True,
    )
    face_det_batch_size: int = option("detected at once, by sfd on a GPU", 16, unit="frames", minimum=1)
    wav2lip_batch_size: int | None = option("generated at once; else 128, on a CPU 16", None, unit="frames", minimum=1)
    resize_factor: int = option("divide the resolution by this", 1, minimum=1, common=True)
    crop: tuple[int, int, int, int] = option(
        "use this part of the frame, after --resize_factor and --rotate; -1 is the far edge", (0, -1, 0, -1),
        unit="pixels", metavar=SIDES,
    )  # fmt: skip
    box: tuple[int, int, int, int] | None = option(
        "the face is here in every frame; no detection", None, unit="pixels", metavar=SIDES, common=True
    )
    rotate: bool = option("turn the video clockwise by 90 degrees", False, common=True)
    picture_size: int = option(
        "scale a still picture whose longer side is longer down to this, first of all; 0: keep its size", 1920,
        unit="pixels", minimum=0,
    )  # fmt: skip
    video_stream: int | None = option(
        "which of several videos in one file, from 0; else the one marked as default, or the first", None, metavar="N",
        minimum=0,
    )  # fmt: skip
    deinterlace: str = option(
        "interlaced video: a picture per frame, a picture per field, or combs kept", "frame",
        choices=tuple(DEINTERLACE),
    )  # fmt: skip
    background: tuple[int, int, int] = option(
        "colour behind what is transparent, where --codec and --outfile cannot hold alpha", (0, 0, 0),
        metavar="R,G,B",
    )  # fmt: skip
    face_at: tuple[float, float] | None = option(
        "follow the person at this point, when first there", None, unit="pixels", metavar="X,Y", common=True
    )
    face_index: int | None = option(
        "follow the Nth person from the left, from 0, in the first frame that shows the most", None, metavar="N",
        minimum=0, common=True,
    )  # fmt: skip
    align: bool = option("turn tilted heads upright before they are dubbed", False)
    nosmooth: bool = option("do not smooth the face boxes over 5 frames", False)
    published_timing: bool = option("start the mel as the published code does, 40 ms later", False)
    extend: str = option(
        "what is shown when the speech is longer than the video", "loop", choices=EXTENSIONS, common=True
    )
    keep_length: bool = option("when the speech is shorter, play the rest of the video undubbed", False)
    paste: str = option("how the mouth is put back: without a seam, or the whole box", "soft", choices=STYLES)
    refine: str = option(
        "sharpen mouths: auto takes person.safetensors where it lies beside the weights or in a folder next to their "
        "run; off; or a file of refiner_train.py", "auto", metavar="auto|off|FILE", common=True,
    )  # fmt: skip
    occlusion: bool = option(
        "what covers the mouth stays in front of it; profile views stay as they are", False, common=True
    )
    silence: str = option("a resting mouth, or what the network makes of it", "rest", choices=("rest", "model"))
    level: str = option(
        "raise quiet speech, for what the networks hear alone, or keep it, as the published code does", "auto",
        choices=("auto", "keep"),
    )  # fmt: skip
    audio_stream: int | None = option(
        "sound track of the speech's file, from 0; else the one marked as default, or the first",
        None,
        metavar="N",
        minimum=0,
    )
    codec: str = option(f"auto, {', '.join(CODECS)} or an encoder of FFmpeg's such as h264_nvenc", "auto", common=True)
    crf: int | None = option(
        "quality on the encoder's scale, less is better; else 18 for H.264", None, minimum=0, maximum=63
    )
    preset: str | None = option("the encoder's speed; else veryfast for H.264", None)
    start: float = option(
        "use the video only from here on; the speech starts with it", 0.0, unit="seconds", minimum=0, common=True
    )
    end: float | None = option("use the video only up to here", None, unit="seconds", minimum=0, common=True)
    final_audio: Path | None = option("the sound of the result, where --audio is only what moves the lips", None)
    preview: float | None = option(
        "only the first seconds; 0: as --still", None, unit="seconds", const=PREVIEW, minimum=0, common=True
    )
    overwrite: bool = option("replace an --outfile that is no dub of this program", False, common=True)
    no_score: bool = option("do not score how well lips and speech fit", False)
    report: bool = option(
        "add <outfile>.html: source and dub in step, the mouth enlarged, the lip-sync by second; and <outfile>.png: "
        "source, result and difference at even times", False, common=True,
    )  # fmt: skip
    engine: str = option(
        "what runs the generator; auto: OpenVINO on a CPU where it is installed, else PyTorch", "auto", choices=ENGINES
    )
    precision: str = option(
        "number format of the network; auto: int8 with OpenVINO, else bf16 where it is fast", "auto",
        choices=(*PRECISIONS, "int8"),
    )  # fmt: skip
    no_cache: bool = option("look for faces even where they are known from the last time", False)
    face_detector: str = option("what finds the faces", "auto", choices=DETECTORS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= value <= 255 for value in self.background):
            raise InputError(f"--background {','.join(map(str, self.background))}: give numbers from 0 to 255")
        if self.end is not None and self.end <= self.start:
            raise InputError(f"--end {self.end:g}: give more than --start, {self.start:g}")
        if self.box == DETECT:
            object.__setattr__(self, "box", None)
        if self.preview is not None and 0 < self.preview < SHORTEST_PREVIEW:
            raise InputError(f"--preview {self.preview:g}: give at least {SHORTEST_PREVIEW}, or 0 for one picture")
        if self.fps != SOURCE_FPS:
            rate = parse_scalar(float, str(self.fps), "--fps ")
            if not FPS_RANGE[0] <= rate <= FPS_RANGE[1]:  # nor is NaN
                raise InputError(f"--fps {self.fps}: give {FPS_RANGE[0]} to {FPS_RANGE[1]}, or {SOURCE_FPS}")

    def as_json(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """These settings, by default all that are not as by default; utils.options.changed() reads them."""
        if names is None:
            names = [setting.name for setting in fields(self) if getattr(self, setting.name) != setting.default]
        values = {name: getattr(self, name) for name in names}
        return {name: value.as_posix() if isinstance(value, Path) else value for name, value in values.items()}

    @property
    def frame_rate(self) -> float | None:
        """Of --fps; None for that of the source."""
        return None if self.fps == SOURCE_FPS else float(self.fps)

    @property
    def plays_whole(self) -> bool:
        """Whether the video is played to its end where the speech ends earlier."""
        return self.keep_length and not self.preview

    @property
    def transform(self) -> "FrameTransform":
        from dubbing.source import FrameTransform  # needs NumPy and PyAV, which the options do without

        return FrameTransform(
            self.deinterlace,
            self.video_stream,
            self.background,
            self.picture_size,
            self.resize_factor,
            self.rotate,
            self.crop,
        )
