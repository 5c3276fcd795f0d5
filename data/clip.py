"""A preprocessed clip: its record, and its arrays: faces decoded once at training size, mel computed once, both
memory-mapped.

The arrays are cached beside the frames as faces.npy and mel.npy; cache.json says what they were made from, and their
size and CRC-32. If anything does not match, they are made again. Folders of the published preprocessing work too.
"""

import re
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import soundfile

import audio
from face_detection.crop import to_network_size
from hparams import MEL_NAMES, HParams
from media.reader import read_image
from utils.errors import InputError
from utils.files import atomic_write, read_json, system_name, write_json

RECORD = "clip.json"
PICTURE = re.compile(r"(0|[1-9][0-9]*)\.jpg")
FORMAT = 3  # of the caches


@dataclass(frozen=True)
class ClipRecord:
    """What is known of a clip, as clip.json holds it for each and report.json for all.

    None stands for what was not measured: clips of the published preprocessing have no record at first, and offsets
    need an expert. A video that no clip could be made of has frames=0 and a problem."""

    clip: str = ""  # <group>/<clip>
    problem: str | None = None  # why it cannot be used

    # the video
    origin: dict | None = None  # file and settings that the clip was made from
    fps_in: float | None = None  # frames a second
    start: float | None = None  # time stamp of frame 0, seconds
    damaged_packets: int | None = None
    dub: bool = False  # whether this program made it
    findings: list | None = None  # phrases: what was unusual about the file, and was changed

    # the clip's frames, 25 a second
    frames: int = 0
    seconds: float = 0.0
    faces: int = 0  # frames with a face
    interpolated: int | None = None  # faces between two detections
    face_height: int = 0  # pixels, median
    sharpness: float = 0.0  # utils.images.sharpness, mean over some faces
    on_side: float | None = None  # share of the faces that lie on their side
    several_people: float | None = None  # share of the frames
    cuts: list | None = None  # frames that begin a new shot
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

    def write(self, folder: Path) -> None:
        write_json(folder / RECORD, asdict(self))


def read_record(folder: Path) -> ClipRecord:
    """The record in a clip's folder; an empty one if there is none. Raises InputError if it is damaged or another
    program's."""
    path = folder / RECORD
    if not path.exists():
        return ClipRecord()
    content = read_json(path, "delete it, then run preprocess.py --report_only")
    hints = get_type_hints(ClipRecord)
    known = {name: content[name] for name in hints if name in content}
    if not all(_fits(value, hints[name]) for name, value in known.items()):
        raise InputError(f"{path}: was not written by preprocess.py; move it elsewhere")
    return ClipRecord(**known)


def _fits(value: Any, hint: Any) -> bool:
    return isinstance(value, hint) or (isinstance(value, int) and isinstance(0.0, hint))


class Clip:
    """person: whose clip it is (default: the folder that it lies in). Arrays with one row for each frame with a face:

        faces   uint8 [N, S, S, 3] BGR
        frames  int64 [N], frame numbers, ascending
        times   int64 [N], the same on the sound's clock, if the sound is early or late
        shots   int64 [N], number of the shot

    and mel, float32 [columns, num_mels], of the whole sound, quiet speech raised.
    """

    def __init__(self, folder: Path, hp: HParams, person: str = "") -> None:
        self.folder, self.person = folder, person or folder.parent.name
        self.frames = np.array(sorted(int(path.stem) for path in folder.iterdir() if PICTURE.fullmatch(path.name)))
        if not len(self.frames):
            raise InputError(f"{folder}: holds no frames (0.jpg, 1.jpg, ...); run preprocess.py again")
        if not (folder / "audio.wav").exists():
            raise InputError(f"{folder}: has no audio.wav; run preprocess.py again")
        record = read_record(folder)
        self.times = self.frames + record.sound_offset
        self.shots = np.searchsorted(record.cuts or [], self.frames, side="right")
        origin = self._origin(hp)
        if not _is_current(folder, origin):
            self._make_cache(origin, hp)
        self.mel_checksum = _checksum(folder / "mel.npy")

    def __getstate__(self) -> dict[str, Any]:  # loader workers open the arrays themselves
        return {name: value for name, value in self.__dict__.items() if name not in ("faces", "mel")}

    @cached_property
    def faces(self) -> np.ndarray:
        return np.load(self.folder / "faces.npy", mmap_mode="r")

    def picture(self, row: int) -> np.ndarray:
        """The crop of a row as it was stored, uint8 BGR [h, w, 3]."""
        return read_image(self.folder / f"{self.frames[row]}.jpg")

    @cached_property
    def mel(self) -> np.ndarray:
        if _checksum(self.folder / "mel.npy") != self.mel_checksum:
            raise InputError(f"{self.folder}: another process replaced mel.npy, with other values; run one at a time")
        return np.load(self.folder / "mel.npy", mmap_mode="r")

    def mel_window(self, start: int, hp: HParams) -> np.ndarray:
        """float32 [1, num_mels, mel_window], the columns from `start` on."""
        return np.array(self.mel[start : start + hp.mel_window].T[None])

    def window_rows(self, hp: HParams, per_frame_mels: bool) -> np.ndarray:
        """Rows at which a training window starts: window_frames consecutive frames of one shot, with mels inside the
        sound."""
        rows = []
        for row in self.run_starts(hp.window_frames):
            time = int(self.times[row])
            starts = [audio.window_mel_start(time, hp)]
            if per_frame_mels:
                starts += audio.frame_mel_starts(time, hp)
            if time >= per_frame_mels and max(starts) + hp.mel_window <= len(self.mel):
                rows.append(row)
        return np.array(rows, np.int64)

    def run_starts(self, count: int) -> np.ndarray:
        """Rows at which `count` consecutive frames of one shot start."""
        first, last = slice(0, max(0, len(self.frames) - count + 1)), slice(count - 1, None)
        in_a_row = self.frames[last] - self.frames[first] == count - 1
        return np.flatnonzero(in_a_row & (self.shots[first] == self.shots[last]))

    def _origin(self, hp: HParams) -> dict:
        """What the caches are made from."""
        pictures = [(int(frame), (self.folder / f"{frame}.jpg").stat()) for frame in self.frames]
        sound = (self.folder / "audio.wav").stat()
        return {
            "format": FORMAT,
            "pictures": zlib.crc32(repr([(n, stat.st_size, stat.st_mtime_ns) for n, stat in pictures]).encode()),
            "sound": [sound.st_size, sound.st_mtime_ns],
            "img_size": hp.img_size,
            "mel": {name: getattr(hp, name) for name in MEL_NAMES},
        }

    def _make_cache(self, origin: dict, hp: HParams) -> None:
        """Files are written from beginning to end, so that a full disk is an error here and not later, when a hole in a
        file is mapped into memory."""
        mel, size, checksums = _mel(self.folder / "audio.wav", hp), hp.img_size, {}
        about = {"descr": "|u1", "fortran_order": False, "shape": (len(self.frames), size, size, 3)}
        try:
            with atomic_write(self.folder / "mel.npy") as temporary:
                np.save(temporary, mel)
                checksums["mel.npy"] = _checksum(temporary)
            with atomic_write(self.folder / "faces.npy") as temporary:
                with temporary.open("wb") as file:
                    np.lib.format.write_array_header_1_0(file, about)
                    for row in range(len(self.frames)):
                        file.write(to_network_size(self.picture(row), size).tobytes())
                checksums["faces.npy"] = _checksum(temporary)
            write_json(self.folder / "cache.json", origin | checksums)
        except OSError as error:
            raise InputError(f"{self.folder}: the training cache cannot be written there ({error.strerror})") from error


def _checksum(path: Path) -> list[int]:
    """Size and CRC-32."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
        return [file.tell(), checksum]


def _is_current(folder: Path, origin: dict) -> bool:
    """Whether the caches were made from this and are undamaged."""
    try:
        checksums = {name: _checksum(folder / name) for name in ("mel.npy", "faces.npy")}
        return read_json(folder / "cache.json") == origin | checksums
    except (OSError, InputError):  # missing or damaged
        return False


def _mel(sound: Path, hp: HParams) -> np.ndarray:
    """float32 [columns, num_mels]."""
    try:
        wav, rate = soundfile.read(system_name(sound), dtype="float32")  # thirty times as fast as load_wav
    except soundfile.LibsndfileError:
        wav, rate = np.empty(0), 0
    if wav.ndim > 1 or rate != hp.sample_rate:  # not made by this preprocessing
        wav = audio.load_wav(sound, hp.sample_rate)
    if len(wav) < hp.n_fft:
        raise InputError(f"{sound}: lasts {len(wav) / hp.sample_rate:.2f} s, too short to train on")
    return audio.melspectrogram(audio.raise_quiet_speech(wav, hp)[0], hp).T
