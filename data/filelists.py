"""Which clip is for training and which for evaluation: filelists/train.txt and filelists/eval.txt.

A list has one clip per line, `<group>/<clip>` below the preprocessed root; a name that a plain line cannot hold is a
JSON string. Lists only grow: a clip keeps the list it is in, a line that was moved or taken out by hand stays so, and
lists that were written by hand are left alone; but neither list is left empty, and a clip that was alone, and so in
both, stays in one when others come. known_clips.json beside them remembers which clips have been put into lists, so
that one taken out is not put back, and which have been trained on, so that these are not evaluated on later.
"""

import json
import re
import zlib
from collections.abc import Collection
from pathlib import Path

from utils.errors import InputError
from utils.files import is_text, read_json, write_json, write_text

EVAL_SHARE = 0.1
RECORD = "known_clips.json"


def update_lists(folder: Path, data_root: Path, clips: list[str], left_out: Collection[str] = ()) -> list[str]:
    """Add clips that no list has seen yet, and take out those that are left_out; they come back when they are good
    again. Returns what was done, in sentences for the user."""
    train, evaluation, record = folder / "train.txt", folder / "eval.txt", folder / RECORD
    messages = []
    known = _read_record(record) if record.exists() else None
    if known is None and (train.exists() or evaluation.exists()):
        missing = sorted(set(clips) - {*_lines(train), *_lines(evaluation)})
        doubtful = sorted(set(left_out) & {*_lines(train), *_lines(evaluation)})
        note = f"; not in them: {_few(missing)}" if missing else ""
        note += f"; in them, but better left out: {_few(doubtful)}" if doubtful else ""
        return [f"{folder}: lists written by hand exist and stay as they are{note}"]
    if known is not None and known["data_root"] != str(data_root.resolve()):
        messages.append(_put_aside([train, evaluation], known["data_root"]))
        known = None

    remembered, trained = (set(known[name]) if known else set() for name in ("clips", "trained"))
    lists = {train: _lines(train), evaluation: _lines(evaluation)}
    if not (lists[train] or lists[evaluation]):
        remembered, trained = set(), set()  # the lists were deleted: begin anew
    removed = {*left_out} & {*lists[train], *lists[evaluation]}
    trained |= {*lists[train]}
    lists = {path: [line for line in lines if line not in removed] for path, lines in lists.items()}
    remembered -= set(left_out)
    new = sorted(set(clips) - remembered - {*lists[train], *lists[evaluation]})
    lists[train], lists[evaluation], said = _shared_out(lists[train], lists[evaluation], new, trained)

    about = {"data_root": str(data_root.resolve()), "trained": sorted(trained | {*lists[train]})}
    write_json(record, about | {"clips": sorted(remembered)})  # a kill before the end leaves the rest as new
    for path in (evaluation, train):
        write_text(path, "".join(f"{_line(clip)}\n" for clip in lists[path]))
    write_json(record, about | {"clips": sorted(remembered | set(clips))})
    messages += said
    taken_out = f", {len(removed)} taken out" if removed else ""
    messages.append(
        f"{train}: {len(lists[train])} clips, {evaluation}: {len(lists[evaluation])} clips, {len(new)} new{taken_out}"
    )
    return messages


def _shared_out(
    train: list[str], evaluation: list[str], new: list[str], trained: set[str]
) -> tuple[list[str], list[str], list[str]]:
    """Both lists with the new clips in one of them, so that none is empty and, where it can be, nothing is evaluated on
    that has been trained on; and what there is to say of it."""
    everyone, said = {*train, *evaluation, *new}, []
    if len(everyone) == 1:
        return [*everyone], [*everyone], ["only one clip: it is both trained on and evaluated on; add more videos"]
    if len(set(evaluation)) == 1 and set(evaluation) <= set(train):  # it was alone
        said.append(f"{_line(evaluation[0])}: taken out of the evaluation list, since it is trained on")
        evaluation = []
    unseen = [clip for clip in new if clip not in trained]
    kept_aside = {clip for clip in unseen if _position(clip) < EVAL_SHARE}
    if not evaluation and not kept_aside and everyone:  # the first by position is kept aside all the same
        kept_aside = {min(unseen or [*train, *new], key=_position)}
        moved = f"{_line(*kept_aside)}: moved to the empty evaluation list; models already trained on it score too well"
        said += [] if unseen else [moved]
    evaluation = [*evaluation, *sorted(kept_aside)]
    train = [clip for clip in (*train, *new) if clip not in kept_aside]
    if not train and everyone:
        evaluation.sort(key=_position)
        train, evaluation = evaluation[1:], evaluation[:1]
    return train, evaluation, said


def listed_clips(folder: Path, split: str, data_root: Path) -> list[Path]:
    """Folders of the clips in one list ("train" or "eval"). Raises InputError when list or clips are not there."""
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder; give the --preprocessed_root of preprocess.py")
    path = folder / f"{split}.txt"
    if split == "eval" and not path.exists():
        path = folder / "val.txt"  # the published name
    if not path.exists():
        raise InputError(f"{folder / f'{split}.txt'}: no such list; run preprocess.py or give --filelists_dir")
    lines = _lines(path)
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
    """Who a clip shows: the first folder of its group, below data_root, which is the group itself where there is none
    between; "" for a clip that lies elsewhere."""
    inner = clip.relative_to(data_root).parts if clip.is_relative_to(data_root) else ("", "")
    return inner[0] if len(inner) > 1 else data_root.resolve().name


def _folder(data_root: Path, line: str) -> Path:
    """The clip that a line names. Published lists may have a label after the name; and data_root may be a group's
    folder, so that the group is named twice."""
    names = (line, line.rsplit(maxsplit=1)[0], line.split()[0])
    inside_group = [name.removeprefix(f"{data_root.resolve().name}/") for name in names]
    return next((data_root / name for name in (*names, *inside_group) if (data_root / name).is_dir()), data_root / line)


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        return _names(path.read_bytes().decode())
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
    """The line that names a clip: its name, or where that would be read otherwise, as with a line break in it, that as
    a JSON string."""
    return clip if is_text(clip) and _names(clip) == [clip] else json.dumps(clip)


def _read_record(path: Path) -> dict:
    try:
        known = read_json(path)
        clips, trained = ([str(clip) for clip in each] for each in (known["clips"], known.get("trained", [])))
        return {"data_root": str(known["data_root"]), "clips": clips, "trained": trained}
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; delete it and the lists beside it, and they are made anew") from error


def _few(names: list[str]) -> str:
    return ", ".join(map(_line, names[:5])) + (" ..." if len(names) > 5 else "")


def _position(clip: str) -> float:
    """A number in 0..1 that depends on the name alone."""
    return zlib.crc32(clip.encode(errors="surrogateescape")) / 2**32


def _put_aside(lists: list[Path], old_root: str) -> str:
    names = []
    for path in filter(Path.exists, lists):
        n = 1
        while (aside := path.with_suffix(f".{n}.txt")).exists():
            n += 1
        path.rename(aside)
        names.append(aside.name)
    return f"lists of {old_root} put aside as {', '.join(names)}"
