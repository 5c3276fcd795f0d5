"""Which clip is for training and which for evaluation: filelists/train.txt and filelists/eval.txt.

A list has one clip per line, `<group>/<clip>` below the preprocessed root; a name that a plain line cannot hold is a
JSON string. A clip keeps its list, also if it was moved or taken out by hand, and lists written by hand are left alone.
known_clips.json beside the lists remembers which clips have been listed, so that one taken out is not put back, and
which have been trained on, so that they are not evaluated on later.
"""

import json
import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils.errors import InputError
from utils.files import is_text, read_json, write_json, write_text

EVAL_SHARE = 0.1
RECORD = "known_clips.json"


@dataclass(frozen=True)
class Split:
    """Clips by list."""

    train: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # clips that have been in a list
    trained: set[str] = field(default_factory=set)  # clips that have been in train
    remarks: list[str] = field(default_factory=list)  # sentences for the user

    @property
    def listed(self) -> set[str]:
        return {*self.train, *self.evaluation}


def split(clips: Collection[str], previous: Split, left_out: Collection[str] = ()) -> Split:
    """`previous` with the clips that are new, without those that are left_out.

    Neither list is empty while there are clips; no clip that was trained on is evaluated on, unless there is no other.
    A single clip is in both lists until others come.
    """
    known, trained = previous.known - {*left_out}, previous.trained | {*previous.train}
    train = [clip for clip in previous.train if clip not in left_out]
    evaluation = [clip for clip in previous.evaluation if clip not in left_out]
    new = sorted({*clips} - known - {*train, *evaluation})
    everyone, remarks = {*train, *evaluation, *new}, []
    if len(everyone) == 1:
        train, evaluation = [*everyone], [*everyone]
        remarks.append("only one clip: it is both trained on and evaluated on; add more videos")
    else:
        if len({*evaluation}) == 1 and evaluation[0] in train:  # it was the only clip
            remarks.append(f"{_line(evaluation[0])}: removed from the evaluation list, since it is trained on")
            evaluation = []
        unseen = [clip for clip in new if clip not in trained]
        held_out = {clip for clip in unseen if _position(clip) < EVAL_SHARE}
        if not evaluation and not held_out and everyone:
            held_out = {min(unseen or [*train, *new], key=_position)}
            if not unseen:
                remarks.append(f"{_line(*held_out)}: moved to the empty evaluation list; models that were trained on "
                               "it score too well")  # fmt: skip
        evaluation = [*evaluation, *sorted(held_out)]
        train = [clip for clip in (*train, *new) if clip not in held_out]
        if not train and everyone:
            evaluation.sort(key=_position)
            train, evaluation = evaluation[1:], evaluation[:1]
    return Split(train, evaluation, known | {*clips}, trained | {*train}, remarks)


def update_lists(folder: Path, data_root: Path, clips: list[str], left_out: Collection[str] = ()) -> list[str]:
    """Bring the lists in a folder up to date; returns what was done, in sentences for the user."""
    train, evaluation, record = folder / "train.txt", folder / "eval.txt", folder / RECORD
    previous, remarks = Split(_read_list(train), _read_list(evaluation)), list[str]()
    if record.exists():
        root, known, trained = _read_record(record)
        if root != str(data_root.resolve()):
            remarks, previous = [_rename_old(train, evaluation, root)], Split()
        elif previous.listed:  # else the lists were deleted: start again
            previous = replace(previous, known=known, trained=trained)
    elif train.exists() or evaluation.exists():
        missing, doubtful = sorted({*clips} - previous.listed), sorted({*left_out} & previous.listed)
        notes = [f"; not in them: {_few(missing)}" if missing else ""]
        notes += [f"; in them, but better left out: {_few(doubtful)}" if doubtful else ""]
        return [f"{folder}: lists written by hand exist and stay as they are{''.join(notes)}"]

    lists = split(clips, previous, left_out)
    added, removed = {*clips} - previous.known - previous.listed, {*left_out} & previous.listed
    about = {"data_root": str(data_root.resolve()), "trained": sorted(lists.trained)}
    write_json(record, about | {"clips": sorted(lists.known - added)})  # a kill before the end leaves the rest as new
    for path, names in ((evaluation, lists.evaluation), (train, lists.train)):
        write_text(path, "".join(f"{_line(clip)}\n" for clip in names))
    write_json(record, about | {"clips": sorted(lists.known)})
    counts = f"{train}: {len(lists.train)} clips, {evaluation}: {len(lists.evaluation)} clips, {len(added)} new"
    return [*remarks, *lists.remarks, counts + (f", {len(removed)} removed" if removed else "")]


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
    """The clip that a line names. Published lists may have a label after the name; and data_root may be a group's
    folder, so that the group is named twice."""
    names = (line, line.rsplit(maxsplit=1)[0], line.split()[0])
    inside_group = [name.removeprefix(f"{data_root.resolve().name}/") for name in names]
    return next((data_root / name for name in (*names, *inside_group) if (data_root / name).is_dir()), data_root / line)


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


def _read_record(path: Path) -> tuple[str, set[str], set[str]]:
    """data_root, and the clips that have been listed and trained on."""
    try:
        content = read_json(path)
        known, trained = ({str(clip) for clip in clips} for clips in (content["clips"], content.get("trained", [])))
        return str(content["data_root"]), known, trained
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; delete it and the lists beside it to make them again") from error


def _few(names: list[str]) -> str:
    return ", ".join(map(_line, names[:5])) + (" ..." if len(names) > 5 else "")


def _position(clip: str) -> float:
    """A number in 0..1 that depends on the name alone, so that the split does not depend on other clips."""
    return zlib.crc32(clip.encode(errors="surrogateescape")) / 2**32


def _rename_old(train: Path, evaluation: Path, root: str) -> str:
    """Rename the lists of another root to the first free name; returns a sentence."""
    names = []
    for path in filter(Path.exists, (train, evaluation)):
        n = 1
        while (old := path.with_suffix(f".{n}.txt")).exists():
            n += 1
        path.rename(old)
        names.append(old.name)
    return f"lists of {root} renamed to {', '.join(names)}"
