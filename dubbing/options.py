"""Settings of a dub; the flags of inference.py, the columns of a list of jobs and docs/cli.md are made from them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from face_detection import DETECTORS
from media.formats import CODECS, DEINTERLACE
from utils.errors import InputError
from utils.settings import PRECISIONS, CommonOptions, option, parse_scalar, stream_option
from utils.settings import Options as BaseOptions

ENGINES = ("auto", "torch", "openvino")  # see models/backend.py: pick
STYLES = ("soft", "box")  # of --paste
EXTENSIONS = ("loop", "pingpong", "hold")  # of --extend
SIDES = ("TOP", "BOTTOM", "LEFT", "RIGHT")
OUTFILE = Path("results/result_voice.mp4")  # the published default
PREVIEW, SHORTEST_PREVIEW = 5.0, 0.1  # seconds, of --preview without a value, and with one
SOURCE_FPS, FPS_RANGE = "source", (1, 1000)  # what --fps takes besides numbers, and which numbers
DETECT = (-1, -1, -1, -1)  # the published way of giving no --box


@dataclass(frozen=True, kw_only=True)
class Request(BaseOptions):
    """What inference.py is to do."""

    face: Path | None = option("video or picture with the face", None, common=True)
    audio: Path | None = option("sound or video file with the speech", None, common=True)
    voice: tuple[str, ...] | None = option(
        "instead of --audio, what one of several people says, for each of them; PERSON: number from the left, counted "
        "from 0, or X,Y; or a CSV with columns person, audio and start (seconds)", None, metavar="PERSON=FILE",
        common=True,
    )  # fmt: skip
    outfile: Path | None = option(
        f"video to write, or a folder for it (default: {OUTFILE.as_posix()})", None, common=True,
        aliases=("--out-file", "--out_file"),
    )  # fmt: skip
    jobs: Path | None = option(
        "CSV or JSON list of dubs: columns face, audio and the names of other flags", None, metavar="LIST", common=True
    )
    check: bool = option("find problems in the footage and estimate the time; no dub", False, common=True)
    still: bool = option("write one dubbed frame beside its source as PNG, to try settings; no dub", False, common=True)
    demo: bool = option("dub two bundled clips, score them and make a page that shows them", False, common=True)
    json: bool = option("print what was done as JSON, one line per dub; all else goes to stderr", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = [name for name in ("demo", "jobs", "check", "still") if getattr(self, name)]
        if len(asked) > 1:
            raise InputError(f"--{asked[0]} and --{asked[1]}: give one of them")
        for name in ("face", "audio", "voice"):
            if self.jobs and getattr(self, name):
                raise InputError(f"--{name}: --jobs names its own; give one of them")
        if self.audio and self.voice:
            raise InputError("--audio and --voice: give one of them")


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Every setting of a dub."""

    checkpoint_path: Path | None = option(
        "generator weights (default: the best installed; published before bundled)", None, common=True, weights=True
    )
    static: bool = option("show the first frame throughout", False)
    fps: str = option(
        "frame rate of pictures, and of videos slower than 24, whose frames are repeated, each with its own mouth; "
        "source: keep the rate of slow videos", "25", unit="frames a second", metavar="N|source",
    )  # fmt: skip
    pads: tuple[int, int, int, int] = option(
        "enlarge the face box; more at the bottom includes the chin", (0, 10, 0, 0), unit="pixels", metavar=SIDES,
        common=True,
    )  # fmt: skip
    face_det_batch_size: int = option("frames that sfd detects faces in at once on a GPU", 16, minimum=1)
    wav2lip_batch_size: int | None = option("faces generated at once (default: 128, on a CPU 16)", None, minimum=1)
    resize_factor: int = option("divide the resolution by this", 1, minimum=1, common=True)
    crop: tuple[int, int, int, int] = option(
        "use this part of the frame, after --resize_factor and --rotate; -1: the far edge", (0, -1, 0, -1),
        unit="pixels", metavar=SIDES,
    )  # fmt: skip
    box: tuple[int, int, int, int] | None = option(
        "face box for all frames, instead of face detection", None, unit="pixels", metavar=SIDES, common=True
    )
    rotate: bool = option("rotate the video clockwise by 90 degrees", False, common=True)
    picture_size: int = option(
        "first scale a picture down until its longer side has this length; 0: keep its size", 1920, unit="pixels",
        minimum=0,
    )  # fmt: skip
    video_stream: int | None = stream_option("video track of the file")
    deinterlace: str = option(
        "interlaced video: one picture per frame, one per field, or no deinterlacing", "frame",
        choices=tuple(DEINTERLACE),
    )  # fmt: skip
    background: tuple[int, int, int] = option(
        "colour behind transparent parts, where --codec and --outfile cannot hold alpha", (0, 0, 0), metavar="R,G,B"
    )
    face_at: tuple[float, float] | None = option(
        "follow the person who first appears at this point", None, unit="pixels", metavar="X,Y", common=True
    )
    face_index: int | None = option(
        "follow the Nth person from the left, counted from 0, in the first of the frames with the most faces", None,
        metavar="N", minimum=0, common=True,
    )  # fmt: skip
    speaking_only: bool = option(
        "dub whoever speaks: of all faces the one that the video's own sound belongs to, where that is sure", False,
        common=True,
    )  # fmt: skip
    align: bool = option("turn tilted heads upright before dubbing", False)
    nosmooth: bool = option("do not smooth the face boxes over 5 frames", False)
    published_timing: bool = option("start the mel 40 ms later, as the published code does", False)
    extend: str = option(
        "how a video is extended to the length of longer speech", "loop", choices=EXTENSIONS, common=True
    )
    keep_length: bool = option("play a video longer than the speech to its end", False)
    paste: str = option("blend the mouth in without a seam, or paste the whole box", "soft", choices=STYLES)
    own_pixels: str = option(
        "take mouths from other moments of the video, which has to show the face for 4 seconds; auto: with all "
        "weights but the published ones, which draw as published", "auto", choices=("auto", "on", "off"), common=True,
    )  # fmt: skip
    mouths_from: Path | None = option(
        "another video of the person, or a folder of them, to take mouths from as well", None
    )
    occlusion: bool = option(
        "keep hands and other things in front of the dubbed mouth; leave profile views unchanged", False, common=True
    )
    silence: str = option(
        "in pauses show a resting mouth, or what the network generates", "rest", choices=("rest", "model")
    )
    level: str = option(
        "raise quiet speech for the networks (not in the result), or keep its level as the published code does",
        "auto", choices=("auto", "keep"),
    )  # fmt: skip
    audio_stream: int | None = stream_option("audio track of the speech's file")
    codec: str = option(f"auto, {', '.join(CODECS)}, or an encoder of FFmpeg such as h264_nvenc", "auto", common=True)
    crf: int | None = option(
        "quality on the encoder's scale; lower is better (default: 18 for H.264)", None, minimum=0, maximum=63
    )
    preset: str | None = option("speed of the encoder (default: veryfast for H.264)", None)
    start: float = option(
        "use the video from this time on; the speech starts there, too", 0.0, unit="seconds", minimum=0, common=True
    )
    end: float | None = option("use the video up to this time", None, unit="seconds", minimum=0, common=True)
    final_audio: Path | None = option("sound of the result; --audio then only moves the lips", None)
    preview: float | None = option(
        "dub only the first seconds; 0: as --still", None, unit="seconds", const=PREVIEW, minimum=0, common=True
    )
    overwrite: bool = option("replace an --outfile that is not a dub by this program", False, common=True)
    no_score: bool = option("do not score lip-sync", False)
    report: bool = option(
        "also write <outfile>.html (source and dub side by side, enlarged mouth, lip-sync by second) and <outfile>.png "
        "(source, result, difference)", False, common=True,
    )  # fmt: skip
    side_by_side: bool = option(
        "also write <outfile>.side_by_side.mp4, source and dub beside each other", False
    )  # fmt: skip
    label: bool = option("write “AI-dubbed” into a corner of the picture", False)
    engine: str = option(
        "what runs the networks; auto: OpenVINO on a CPU where it is installed, else PyTorch", "auto", choices=ENGINES
    )
    precision: str = option(
        "dtype of the networks; auto: int8 with OpenVINO, else bf16 or fp16 where it is faster", "auto",
        choices=(*PRECISIONS, "int8"),
    )  # fmt: skip
    no_cache: bool = option("detect faces again even if they are cached", False)
    face_detector: str = option("face detector", "auto", choices=DETECTORS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= value <= 255 for value in self.background):
            raise InputError(f"--background {','.join(map(str, self.background))}: give numbers from 0 to 255")
        if self.end is not None and self.end <= self.start:
            raise InputError(f"--end {self.end:g}: give more than --start, {self.start:g}")
        if self.box == DETECT:
            object.__setattr__(self, "box", None)
        chosen = [name for name in ("box", "face_at", "face_index") if getattr(self, name) is not None]
        if self.speaking_only and chosen:
            raise InputError(f"--speaking_only and --{chosen[0]}: give one of them")
        flag = "--mouths_from" if self.mouths_from else "--own_pixels on"
        if self.mouths_from or self.own_pixels == "on":
            against = {
                "--own_pixels off": self.own_pixels == "off", "--paste box": self.paste == "box",
                "--box": self.box is not None,
            }  # fmt: skip
            for other in (name for name, given in against.items() if given):
                raise InputError(f"{flag} and {other}: give one of them")
        if self.preview is not None and 0 < self.preview < SHORTEST_PREVIEW:
            raise InputError(f"--preview {self.preview:g}: give at least {SHORTEST_PREVIEW}, or 0 for one picture")
        if self.fps != SOURCE_FPS:
            rate = parse_scalar(float, str(self.fps), "--fps ")
            if not FPS_RANGE[0] <= rate <= FPS_RANGE[1]:  # nor is NaN
                raise InputError(f"--fps {self.fps}: give {FPS_RANGE[0]} to {FPS_RANGE[1]}, or {SOURCE_FPS}")

    def as_json(self) -> dict[str, Any]:
        """The settings that differ from their defaults; utils.settings.with_overrides() reads them."""
        names = [setting.name for setting in fields(self) if getattr(self, setting.name) != setting.default]
        values = {name: getattr(self, name) for name in names}
        return {name: value.as_posix() if isinstance(value, Path) else value for name, value in values.items()}
