"""A preprocessed clip as arrays: faces decoded once at training size, mel computed once, both memory-mapped.

The arrays are cached beside the frames as faces.npy and mel.npy; cache.json says what they were made from, and their
size and CRC-32. If anything does not match, they are made again. Folders of the published preprocessing work too.
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
BLOCK = 1 << 20  # bytes


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
        pictures = _pictures(folder)
        if not pictures:
            raise InputError(f"{folder}: holds no frames (0.jpg, 1.jpg, ...); run preprocess.py again")
        if not (folder / "audio.wav").exists():
            raise InputError(f"{folder}: has no audio.wav; run preprocess.py again")
        self.names = [picture.name for picture in pictures]
        self.frames = np.array([_number(picture) for picture in pictures])
        record = read_record(folder)
        self.times = self.frames + record.sound_offset
        self.shots = np.searchsorted(record.cuts or [], self.frames, side="right")
        origin = _origin(folder, pictures, hp)
        if not _is_current(folder, origin):
            _make_cache(folder, pictures, origin, hp)
        self.mel_checksum = _checksum(folder / "mel.npy")

    def __getstate__(self) -> dict[str, Any]:  # loader workers open the arrays themselves
        return {name: value for name, value in self.__dict__.items() if name not in ("faces", "mel")}

    @cached_property
    def faces(self) -> np.ndarray:
        return np.load(self.folder / "faces.npy", mmap_mode="r")

    def picture(self, row: int) -> np.ndarray:
        """The crop of a row as it was stored, uint8 BGR [h, w, 3]."""
        return read_image(self.folder / self.names[row])

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


def _pictures(folder: Path) -> list[os.DirEntry]:
    """0.jpg, 1.jpg, ..., by number."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.name.endswith(".jpg") and entry.name[:-4].isdecimal()),
                      key=_number)  # fmt: skip


def _number(picture: os.DirEntry) -> int:
    return int(picture.name[:-4])


def _origin(folder: Path, pictures: list[os.DirEntry], hp: HParams) -> dict:
    """What the caches are made from."""
    stats = [(_number(picture), picture.stat().st_size, picture.stat().st_mtime_ns) for picture in pictures]
    sound = (folder / "audio.wav").stat()
    return {
        "format": FORMAT,
        "pictures": zlib.crc32(repr(stats).encode()),
        "sound": [sound.st_size, sound.st_mtime_ns],
        "img_size": hp.img_size,
        "mel": {name: getattr(hp, name) for name in MEL_NAMES},
    }


def _is_current(folder: Path, origin: dict) -> bool:
    """Whether the caches were made from this and are undamaged."""
    try:
        checksums = {name: _checksum(folder / name) for name in ("mel.npy", "faces.npy")}
        return read_json(folder / "cache.json") == origin | checksums
    except (OSError, InputError):  # missing or damaged
        return False


def _checksum(path: Path) -> list[int]:
    """Size and CRC-32."""
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return [size, checksum]


def _make_cache(folder: Path, pictures: list[os.DirEntry], origin: dict, hp: HParams) -> None:
    mel = io.BytesIO()
    np.save(mel, _mel(folder / "audio.wav", hp))
    try:
        checksums = {
            "mel.npy": _write_in_order(folder / "mel.npy", [mel.getvalue()]),
            "faces.npy": _write_in_order(folder / "faces.npy", _face_bytes(pictures, hp.img_size)),
        }
        write_text(folder / "cache.json", json.dumps(origin | checksums))
    except OSError as error:
        raise InputError(f"{folder}: the training cache cannot be written there ({error.strerror})") from error


def _mel(sound: Path, hp: HParams) -> np.ndarray:
    try:
        wav, rate = soundfile.read(system_name(sound), dtype="float32")  # thirty times as fast as load_wav
    except soundfile.LibsndfileError:
        wav, rate = np.empty(0), 0
    if wav.ndim > 1 or rate != hp.sample_rate:  # not made by this preprocessing
        wav = audio.load_wav(sound, hp.sample_rate)
    if len(wav) < hp.n_fft:
        raise InputError(f"{sound}: lasts {len(wav) / hp.sample_rate:.2f} s, too short to train on")
    return audio.melspectrogram(audio.raise_quiet_speech(wav, hp)[0], hp).T


def _face_bytes(pictures: list[os.DirEntry], size: int) -> Iterator[bytes]:
    """The content of faces.npy, picture by picture."""
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (len(pictures), size, size, 3)}
    np.lib.format.write_array_header_1_0(header, about)
    yield header.getvalue()
    for picture in pictures:
        yield to_network_size(read_image(picture.path), size).tobytes()


def _write_in_order(path: Path, parts: Iterable[bytes]) -> list[int]:
    """Write a file from beginning to end, so that a full disk is an error here and not later, when a hole in the file
    is mapped into memory; returns its checksum."""
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.writelines(parts)
        return _checksum(temporary)
