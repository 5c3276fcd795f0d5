"""A list of dubs to do in one run: rows of a CSV file, or objects of a JSON list, whose names are those of flags.

face,audio,outfile,pads
talk.mp4,speech.wav,one.mp4,0 20 0 0
"""

import csv
import json
from pathlib import Path

from cli import InputError

NUMBER_LISTS = ("pads", "crop", "box")


def read(path: Path) -> list[list[str]]:
    """The arguments of every job, to be put after those of the command line."""
    if not path.is_file():
        raise InputError(f"--jobs {path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise InputError(f"--jobs {path}: is no CSV or JSON file that can be read ({error})") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"--jobs {path}: give rows under a line of names, or a JSON list of objects")
    for number, row in enumerate(rows, 1):
        if None in row or not row.get("face") or not row.get("audio"):
            raise InputError(f"--jobs {path}: job {number} lacks face or audio, or has more values than names")
    return [_arguments(row) for row in rows]


def _arguments(row: dict) -> list[str]:
    arguments = []
    for name, value in row.items():
        text = str(value).strip()
        if value is None or text == "" or text.lower() == "false":
            continue
        flag = f"--{name.strip().lstrip('-')}"
        if text.lower() == "true":
            arguments.append(flag)
        elif isinstance(value, list):
            arguments += [flag, *map(str, value)]
        elif name in NUMBER_LISTS:
            arguments += [flag, *text.split()]
        else:
            arguments.append(f"{flag}={text}")
    return arguments
