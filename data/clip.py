"""A preprocessed clip as arrays: faces decoded once at training size, mel computed once, both memory-mapped.

The caches lie beside the frames as faces.npy, mel.npy and cache.json, which says what they were made from and what
their bytes are; when either is not so they are made again. Folders written by the published preprocessing serve as they
are.
"""

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import audio
from data.clip_record import read_record
from face_detection.crop import to_network_size
from hparams import MEL_NAMES, HParams
from media.reader import read_image
from utils.errors import InputError
from utils.files import atomic_write, read_json, system_name, write_text

FORMAT = 3  # of the caches
ARRAYS = ("mel.npy", "faces.npy")
BLOCK = 1 << 20  # bytes


class Clip:
    """faces: uint8 [N, S, S, 3] BGR, one row per frame with a face; mel: float32 [columns, num_mels] of
    the sound, quiet speech raised; frames: int64 [N], the frame numbers of the rows, ascending; times: int64 [N], the
    same in the sound's time, where the sound is early or late; shots: int64 [N], the number of each row's shot; person:
    whose clip it is, by default the folder's that it lies in."""

    def __init__(self, folder: Path, hp: HParams, person: str = "") -> None:
        self.folder, self.person = folder, person or folder.parent.name
        pictures = _numbered_pictures(folder)
        if not pictures:
            raise InputError(f"{folder}: holds no frames (0.jpg, 1.jpg, ...); run preprocess.py again")
        sound = folder / "audio.wav"
        if not sound.exists():
            raise InputError(f"{folder}: has no audio.wav; run preprocess.py again")
        self.frames = np.array([number for number, _ in pictures])
        self.names = [entry.name for _, entry in pictures]
        record = read_record(folder)
        self.times = self.frames + record.sound_offset
        self.shots = np.searchsorted(record.cuts or [], self.frames, side="right")
        origin = _made_from(pictures, sound, hp)
        if not _is_current(folder, origin):
            _make(folder, pictures, sound, origin, hp)
        self.heard = _size_and_digest(folder / "mel.npy")

    def __getstate__(self) -> dict[str, Any]:  # loader processes open the arrays themselves
        return {name: value for name, value in self.__dict__.items() if name not in ("faces", "mel")}

    @cached_property
    def faces(self) -> np.ndarray:
        return np.load(self.folder / "faces.npy", mmap_mode="r")

    def picture(self, row: int) -> np.ndarray:
        """The crop of a row as it was stored, uint8 BGR [h, w, 3]."""
        return read_image(self.folder / self.names[row])

    @cached_property
    def mel(self) -> np.ndarray:
        if _size_and_digest(self.folder / "mel.npy") != self.heard:
            raise InputError(
                f"{self.folder}: another process made its mel.npy anew, with other values; run one at a time"
            )
        return np.load(self.folder / "mel.npy", mmap_mode="r")

    def window_rows(self, hp: HParams, per_frame_mels: bool) -> np.ndarray:
        """Rows at which a training window starts: window_frames frames in a row of one shot, their mels inside the
        speech."""
        columns, earliest = len(self.mel), 1 if per_frame_mels else 0
        rows = []
        for row in self.run_starts(hp.window_frames):
            time = int(self.times[row])
            starts = [audio.window_mel_start(time, hp)]
            if per_frame_mels:
                starts += audio.frame_mel_starts(time, hp)
            if time >= earliest and max(starts) + hp.mel_window <= columns:
                rows.append(row)
        return np.array(rows, np.int64)

    def run_starts(self, count: int) -> np.ndarray:
        """Rows at which `count` frames start that have no gap and lie in one shot."""
        first, last = slice(0, max(0, len(self.frames) - count + 1)), slice(count - 1, None)
        in_a_row = self.frames[last] - self.frames[first] == count - 1
        return np.flatnonzero(in_a_row & (self.shots[first] == self.shots[last]))

    def mel_window(self, start: int, hp: HParams) -> np.ndarray:
        """float32 [1, num_mels, mel_window], the columns from `start` on."""
        return np.array(self.mel[start : start + hp.mel_window].T[None])


def _numbered_pictures(folder: Path) -> list[tuple[int, os.DirEntry]]:
    with os.scandir(folder) as entries:
        pictures = [
            (int(entry.name[:-4]), entry) for entry in entries
            if entry.name.endswith(".jpg") and entry.name[:-4].isdecimal()
        ]  # fmt: skip
    return sorted(pictures, key=lambda pair: pair[0])


def _made_from(pictures: list[tuple[int, os.DirEntry]], sound: Path, hp: HParams) -> dict:
    stats = [(number, entry.stat().st_size, entry.stat().st_mtime_ns) for number, entry in pictures]
    mel_values = {name: getattr(hp, name) for name in MEL_NAMES}
    return {
        "format": FORMAT,
        "pictures": zlib.crc32(repr(stats).encode()),
        "sound": [sound.stat().st_size, sound.stat().st_mtime_ns],
        "img_size": hp.img_size,
        "mel": mel_values,
    }


def _is_current(folder: Path, origin: dict) -> bool:
    """Whether the caches were made from this, and nothing has become of them since."""
    try:
        record = read_json(folder / "cache.json")
        return record == origin | {name: _size_and_digest(folder / name) for name in ARRAYS}
    except (OSError, InputError):  # not there, or damaged
        return False


def _size_and_digest(path: Path) -> list[int]:
    size = digest = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, digest = size + len(block), zlib.crc32(block, digest)
    return [size, digest]


def _make(folder: Path, pictures: list[tuple[int, os.DirEntry]], sound: Path, origin: dict, hp: HParams) -> None:
    wav = _samples(sound, hp.sample_rate)
    if len(wav) < hp.n_fft:
        raise InputError(f"{sound}: lasts {len(wav) / hp.sample_rate:.2f} s, too short to train on")
    mel = io.BytesIO()
    np.save(mel, audio.melspectrogram(audio.raise_quiet_speech(wav, hp)[0], hp).T)
    parts = dict(zip(ARRAYS, ([mel.getvalue()], _face_bytes(pictures, hp.img_size)), strict=True))
    try:
        made = {name: _write_in_order(folder / name, each) for name, each in parts.items()}
        write_text(folder / "cache.json", json.dumps(origin | made))
    except OSError as error:
        raise InputError(f"{folder}: the training cache cannot be written there ({error.strerror})") from error


def _samples(path: Path, sample_rate: int) -> np.ndarray:
    """As audio.load_wav; what preprocessing wrote is read as it is, which takes a thirtieth of the time."""
    try:
        with soundfile.SoundFile(system_name(path)) as file:
            if (file.format, file.subtype, file.channels, file.samplerate) == ("WAV", "PCM_16", 1, sample_rate):
                return file.read(dtype="float32")
    except soundfile.LibsndfileError:  # load_wav says what is wrong with it, or reads it all the same
        pass
    return audio.load_wav(path, sample_rate)


def _face_bytes(pictures: list[tuple[int, os.DirEntry]], size: int) -> Iterator[bytes]:
    """What faces.npy consists of, picture by picture."""
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (len(pictures), size, size, 3)}
    np.lib.format.write_array_header_1_0(header, about)
    yield header.getvalue()
    for _, entry in pictures:
        yield to_network_size(read_image(entry.path), size).tobytes()


def _write_in_order(path: Path, parts: Iterable[bytes]) -> list[int]:
    """Write a file from its beginning to its end, so that a full disk is an error here, and no hole in what is later
    mapped into memory; returns its size and digest."""
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.writelines(parts)
        return _size_and_digest(temporary)
