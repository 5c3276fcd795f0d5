"""Which clip is for training and which for evaluation: filelists/train.txt and filelists/eval.txt.

A list has one clip per line, `<group>/<clip>` below the preprocessed root; a name that a plain line cannot hold is a
JSON string. A clip keeps its list, also if it was moved or taken out by hand, and lists written by hand are left alone.
known_clips.json beside the lists remembers which clips have been listed, so that one taken out is not put back.
"""

import json
import re
import zlib
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError
from utils.files import atomic_writes, is_text, read_json

EVAL_SHARE = 0.1
RECORD = "known_clips.json"


class Split(NamedTuple):
    """Clips by list."""

    train: list[str]
    evaluation: list[str]


def split(
    clips: Collection[str], previous: Split, left_out: Collection[str] = (), known: Collection[str] = ()
) -> Split:
    """`previous` without the clips that are left_out, and with those that are new: neither listed nor known.

    Neither list is empty while there are clips, and no clip is in both. But a single clip is in both lists, until
    others come: then it stays in train.
    """
    gone = {*left_out}
    train = [clip for clip in previous.train if clip not in gone]
    gone.update(train)
    evaluation = [clip for clip in previous.evaluation if clip not in gone]
    new = sorted({*clips} - {*known, *train, *evaluation})
    everyone = [*train, *evaluation, *new]
    if len(everyone) <= 1:
        return Split(everyone, everyone)
    held_out = {clip for clip in new if _position(clip) < EVAL_SHARE}
    if not evaluation and not held_out:
        held_out = {min(new or train, key=_position)}
    evaluation = [*evaluation, *sorted(held_out)]
    train = [clip for clip in (*train, *new) if clip not in held_out]
    if not train:
        evaluation.sort(key=_position)
        train, evaluation = evaluation[1:], evaluation[:1]
    return Split(train, evaluation)


def update_lists(folder: Path, data_root: Path, clips: list[str], left_out: Collection[str] = ()) -> list[str]:
    """Bring the lists in a folder up to date; returns what was done, in sentences for the user."""
    train, evaluation, record = folder / "train.txt", folder / "eval.txt", folder / RECORD
    previous, known, remarks = Split(_read_list(train), _read_list(evaluation)), set[str](), list[str]()
    listed = {*previous.train, *previous.evaluation}
    if record.exists():
        root, known = _read_record(record)
        if root != str(data_root.resolve()):
            renamed = [_rename(path) for path in (train, evaluation) if path.exists()]
            remarks.append(f"lists of {root} renamed to {', '.join(renamed)}")
            previous, listed = Split([], []), set()
        known = known - {*left_out} if listed else set()  # lists that were deleted are made again
    elif listed:
        missing, unusable = {*clips} - listed, {*left_out} & listed
        counts = f"usable clips that they lack: {len(missing)}; clips in them that cannot be used: {len(unusable)}"
        return [f"{folder}: lists written by hand exist and stay as they are; {counts}"]

    lists = split(clips, previous, left_out, known)
    if lists.train == lists.evaluation:
        remarks.append("only one clip: it is both trained on and evaluated on; add more videos")
    for clip in {*lists.evaluation} & {*previous.train} - {*lists.train}:
        remarks.append(f"{_line(clip)}: moved to the empty evaluation list; models trained on it score too well")
    contents = {
        evaluation: "".join(f"{_line(clip)}\n" for clip in lists.evaluation),
        train: "".join(f"{_line(clip)}\n" for clip in lists.train),
        record: json.dumps({"data_root": str(data_root.resolve()), "clips": sorted({*known, *clips})}, indent=1),
    }
    with atomic_writes(*contents) as temporaries:
        for path, text in zip(temporaries, contents.values(), strict=True):
            path.write_text(text, encoding="utf-8", newline="\n")
    added, removed = {*clips} - known - listed, {*left_out} & listed
    counts = f"{train}: {len(lists.train)} clips, {evaluation}: {len(lists.evaluation)} clips, {len(added)} new"
    return [*remarks, counts + (f", {len(removed)} removed" if removed else "")]


def listed_clips(folder: Path, split: str, data_root: Path) -> list[Path]:
    """Folders of the clips in one list ("train" or "eval"). Raises InputError if list or clips are missing."""
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder; give the --preprocessed_root of preprocess.py")
    path = folder / f"{split}.txt"
    if split == "eval" and not path.exists():
        path = folder / "val.txt"  # the published name
    if not path.exists():
        raise InputError(f"{folder / f'{split}.txt'}: no such list; run preprocess.py or give --filelists_dir")
    lines = _read_list(path)
    if not lines:
        raise InputError(f"{path}: is empty; run preprocess.py on more videos")
    folders = [_folder(data_root, line) for line in lines]
    missing = [_line(name) for name, clip in zip(lines, folders, strict=True) if not clip.is_dir()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of its {len(lines)} clips are not below {data_root}, such as {missing[0]}; "
            "give the folder that preprocess.py wrote, or take these lines out"
        )
    return folders


def person_of(clip: Path, data_root: Path) -> str:
    """Who a clip shows: the first folder of its group below data_root, or data_root itself if the clip has no group; ""
    for a clip that lies elsewhere."""
    inner = clip.relative_to(data_root).parts if clip.is_relative_to(data_root) else ("", "")
    return inner[0] if len(inner) > 1 else data_root.resolve().name


def _folder(data_root: Path, line: str) -> Path:
    """The clip that a line names. Published lists may have a label after the name."""
    folders = [data_root / name for name in (line, line.rsplit(maxsplit=1)[0], line.split()[0])]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _read_list(path: Path) -> list[str]:
    try:
        return _names(path.read_bytes().decode()) if path.exists() else []
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8; save it as that") from error


def _names(text: str) -> list[str]:
    """The clips that the lines of a list name."""
    text = text.removeprefix("\ufeff")  # editors on Windows put this mark before it
    return [_name(line.strip()) for line in re.split(r"[\r\n]", text) if line.strip()]


def _name(line: str) -> str:
    try:
        name = json.loads(line) if line.startswith('"') else None
    except ValueError:
        name = None
    return name if isinstance(name, str) and name.strip() else line


def _line(clip: str) -> str:
    """The line that names a clip: its name, or a JSON string if a plain line would be read otherwise."""
    return clip if is_text(clip) and _names(clip) == [clip] else json.dumps(clip)


def _read_record(path: Path) -> tuple[str, set[str]]:
    """data_root, and the clips that have been listed."""
    try:
        content = read_json(path)
        return str(content["data_root"]), {str(clip) for clip in content["clips"]}
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; delete it and the lists beside it to make them again") from error


def _position(clip: str) -> float:
    """A number in 0..1 that depends on the name alone, so that the split does not depend on other clips."""
    return zlib.crc32(clip.encode(errors="surrogateescape")) / 2**32


def _rename(path: Path) -> str:
    """Rename a list to the first free name and return that."""
    names = (path.with_suffix(f".{number}.txt") for number in count(1))
    return path.rename(next(name for name in names if not name.exists())).name
