"""Lists that people write: CSV as any spreadsheet program saves it, or JSON.

face;audio;outfile
"talk, 1.mp4";speech.wav;one.mp4
"""

import codecs
import csv
import io
from pathlib import Path
from typing import Any

from utils.errors import InputError
from utils.files import parse_json

SEPARATORS = ",;\t|"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: Path, flag: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a list, by the names of its columns (in lower case); values of a CSV file are texts, without the
    spaces around them. Rows in which nothing stands are left out.

    flag: what the list was given by; needed: columns that there must be. Raises InputError where the file cannot be
    read as such a list.
    """
    if not path.is_file():
        raise InputError(f"{flag} {path}: no such file")
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig")
        rows = parse_json(text) if path.suffix.lower() == ".json" else _csv_rows(text, f"{flag} {path}", needed)
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{flag} {path}: is no CSV or JSON file in UTF-8 that can be read ({error}); save it as that"
        ) from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{flag} {path}: give rows under a line of names, or a JSON list of objects")
    return rows


def _csv_rows(text: str, name: str, needed: tuple[str, ...]) -> list[dict[str, Any]]:
    if text[:4].lower() == "sep=":  # a line by which some programs are told the separator
        text = text.partition("\n")[2]
    tables = (_read(text, separator) for separator in SEPARATORS)
    table = max(tables, key=lambda table: _rank(_names(table), needed))  # the first of equals
    names = _names(table)
    if missing := [column for column in needed if column not in names]:
        found = f"has the columns {', '.join(filter(None, names))}" if any(names) else "is empty"
        raise InputError(f"{name}: {found}; give a first line that names {' and '.join(missing)} too")
    if twice := [column for column in names if column and names.count(column) > 1]:
        raise InputError(f"{name}: has two columns called {twice[0]}")
    rows = []
    for number, line in enumerate(table[1:], 2):
        cells = [cell.strip() for cell in line]
        if any(cells[len(names) :]) or any(cell for column, cell in zip(names, cells, strict=False) if not column):
            raise InputError(f"{name}: row {number} has more values than the first one has names")
        if any(cells):
            rows.append({column: cell for column, cell in zip(names, cells, strict=False) if column})
    return rows


def _read(text: str, separator: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True))


def _names(table: list[list[str]]) -> list[str]:
    """The first row, as names are compared."""
    return [cell.strip().lower() for cell in table[0]] if table else []


def _rank(names: list[str], needed: tuple[str, ...]) -> tuple[int, int]:
    """How well a separator splits the first row."""
    return sum(column in names for column in needed), len(names)
