"""What is known of a clip, as clip.json holds it for each and report.json for all."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from utils.errors import InputError
from utils.files import read_json, write_json

NAME = "clip.json"


@dataclass(frozen=True)
class ClipRecord:
    """None stands for what was not measured: clips of the published preprocessing have no record at first, and offsets
    need an expert. A video that no clip could be made of has frames=0 and a problem."""

    clip: str = ""  # <group>/<clip>
    problem: str | None = None  # why it cannot be used

    # the video
    origin: dict | None = None  # file and settings that the clip was made from
    fps_in: float | None = None  # frames a second
    start: float | None = None  # time stamp of frame 0, seconds
    damaged_packets: int | None = None
    dub: bool = False  # whether this program made it
    findings: list[str] | None = None  # what was unusual about the file, and was changed

    # the clip's frames, 25 a second
    frames: int = 0
    seconds: float = 0.0
    faces: int = 0  # frames with a face
    interpolated: int | None = None  # faces between two detections
    face_height: int = 0  # pixels, median
    sharpness: float = 0.0  # models.inputs.sharpness, mean over some faces
    on_side: float | None = None  # share of the faces that lie on their side
    several_people: float | None = None  # share of the frames
    cuts: list[int] | None = None  # frames that begin a new shot
    windows: int | None = None  # windows that a training can draw

    # its sound
    sound_seconds: float | None = None  # before silence was appended
    loudness_dbfs: float = 0.0
    speech_share: float = 0.0  # of the time
    offset: int | None = None  # frames by which the sound is late
    confidence: float | None = None  # of the offset
    evidence: float | None = None  # z-score of the offset

    # what follows from all this
    usable: bool = False
    verdict: str = ""
    sound_offset: int = 0  # frames, corrected in training

    @property
    def made(self) -> bool:
        """Whether there is a clip."""
        return self.frames > 0

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None or name == "problem"}

    def write(self, folder: Path) -> None:
        write_json(folder / NAME, self.to_json())


def read_record(folder: Path) -> ClipRecord:
    """The record in a clip's folder; an empty one if there is none. Raises InputError if it is damaged or another
    program's."""
    path = folder / NAME
    if not path.exists():
        return ClipRecord()
    content = read_json(path, "delete it, then run preprocess.py --report_only")
    known = {field.name: content[field.name] for field in fields(ClipRecord) if field.name in content}
    hints = get_type_hints(ClipRecord)
    if not all(_has_type(value, hints[name]) for name, value in known.items()):
        raise InputError(f"{path}: was not written by preprocess.py; move it elsewhere")
    return ClipRecord(**known)


def _has_type(value: Any, hint: Any) -> bool:
    hints = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = {get_origin(kind) or kind for kind in hints}
    return isinstance(value, tuple(kinds)) or (float in kinds and isinstance(value, int))
