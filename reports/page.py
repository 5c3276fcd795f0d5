"""Pages for people: parts in, HTML out. A page needs nothing but itself, and what its videos and links name.

page.write(path, "How it went", [html.text("Well."), html.table([("score", "value"), ("LSE-C", "0.31")])])

The parts are the macros of reports/templates/parts.html, called by their names: html.heading, html.text, html.table, …
Texts and names are escaped. `kind` of a text or a cell is "", "good", "remark", "bad" or "unknown", which is a colour
and a sign.
"""

import base64
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import jinja2
import numpy as np

from utils.files import write_text

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Cell:
    """A cell of a table, or a fact, that has a colour, or an explanation of its own."""

    text: str
    kind: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.text


def format_table(rows: Sequence[Sequence[Any]]) -> str:
    """A table, the first row its head, for the terminal: without columns that have no value."""
    texts = [[str(cell) for cell in row] for row in _filled(rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in texts)


def write(path: Path, title: str, parts: Sequence[Any], template: str = "page.html", **values: Any) -> None:
    """Write a page. template: one of reports/templates that extends page.html; values: what else it takes."""
    write_text(path, render(title, parts, template, **values))


def render(title: str, parts: Sequence[Any], template: str = "page.html", **values: Any) -> str:
    return TEMPLATES.get_template(template).render(title=title, parts=parts, **values)


def address(file: str | Path) -> str:
    """A relative path as a page's address of it."""
    return quote(os.fsencode(Path(file).as_posix()))


def embedded(content: bytes, kind: str) -> str:
    """A file as an address that holds all of it. kind: its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(image: np.ndarray) -> str:
    """The address of a picture, uint8 BGR [H, W, 3]."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return embedded(encoded.tobytes(), "image/jpeg")


def _cells(values: Sequence[Any], notes: Mapping[str, str]) -> list[Cell]:
    """notes: by what a cell says, an explanation of it."""
    return [value if isinstance(value, Cell) else Cell(str(value), note=notes.get(str(value), "")) for value in values]


def _filled(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """A table, the first row its head, without columns that have no value."""
    filled = [i for i in range(len(rows[0])) if i == 0 or any(str(row[i]) for row in rows[1:])]
    return [[row[i] for i in filled] for row in rows]


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True,
    lstrip_blocks=True, undefined=jinja2.StrictUndefined,
)  # fmt: skip
TEMPLATES.filters |= {"address": address, "jpeg": jpeg, "cells": _cells, "filled": _filled}
TEMPLATES.globals["next_id"] = itertools.count().__next__
html: Any = TEMPLATES.get_template("parts.html").module
