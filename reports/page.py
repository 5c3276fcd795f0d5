"""Pages for people: parts in, HTML out. A page needs nothing but itself, and what its videos and links name.

page.write(path, "How it went", [page.Text("Well."), page.Table([("score", "value"), ("LSE-C", "0.31")])])

Texts and names are escaped by the templates (reports/templates); parts are shown in their order. `kind` of a text or
a cell is "", "good", "remark", "bad" or "unknown", which is a colour and a sign.
"""

import base64
import io
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np

from utils.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
JPEG_QUALITY = 85
# Of an SVG: what a page has no use for, and ids that nothing refers to, which are alike in all plots
UNUSED = re.compile(r'<metadata>.*?</metadata>|<!--.*?-->| xmlns(:xlink)?="[^"]*"|(?<=<g) id="[^"]*"', re.DOTALL)


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Text:
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Command:
    """Lines for a terminal, to be copied."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table that has a colour, or an explanation of its own."""

    text: str
    kind: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """rows: of cells of any kind, the first being the head; columns without a value are left out. notes: by what a
    cell says, an explanation of it, shown on hovering, clicking or Enter."""

    rows: Sequence[Sequence[Any]]
    notes: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> list[list[Cell]]:
        filled = [i for i in range(len(self.rows[0])) if i == 0 or any(str(row[i]) for row in self.rows[1:])]
        return [[_noted(row[i], self.notes) for i in filled] for row in self.rows]


@dataclass(frozen=True)
class Facts:
    """Values by name, which flow into as many lines as there is room for; empty ones are left out. notes: as of a
    Table, by name or value."""

    values: Mapping[str, Any]
    notes: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> list[tuple[Cell, Cell]]:
        filled = {name: value for name, value in self.values.items() if str(value)}
        return [(_noted(name, self.notes), _noted(value, self.notes)) for name, value in filled.items()]


@dataclass(frozen=True)
class Legend:
    """What numbers mean, folded up under a title: by name, words."""

    title: str
    meanings: Mapping[str, str]


@dataclass(frozen=True)
class Plot:
    """figure: of reports.plots; alt: what it shows, in words."""

    figure: "Figure"
    alt: str
    caption: str = ""

    def svg(self, stretched: bool = False) -> str:
        """stretched: drawn to whatever size the page gives it."""
        drawing = inline_svg(self.figure)
        return drawing.replace("<svg ", '<svg preserveAspectRatio="none" ', 1) if stretched else drawing


@dataclass(frozen=True)
class Plots:
    """Plots beside each other where there is room."""

    plots: Sequence[Plot]


@dataclass(frozen=True)
class Picture:
    """image: uint8 BGR [H, W, 3]; alt: what it shows, in words; columns: what stands above equal parts of its width;
    below: a plot that runs along it, as wide."""

    image: np.ndarray
    alt: str
    caption: str = ""
    columns: Sequence[str] = ()
    below: Plot | None = None

    def source(self) -> str:
        return jpeg_address(self.image)


@dataclass(frozen=True)
class Rows:
    """By label, pictures uint8 BGR [H, W, 3] of one size, one below the other."""

    pictures: Mapping[str, np.ndarray]
    alt: str

    def sources(self) -> dict[str, str]:
        return {label: jpeg_address(image) for label, image in self.pictures.items()}


@dataclass(frozen=True)
class Video:
    """file: beside the page, or below its folder; a relative path."""

    file: str
    alt: str = ""

    def address(self) -> str:
        return address(self.file)


@dataclass(frozen=True)
class Links:
    """By text, files beside the page, or below its folder."""

    files: Mapping[str, str]

    def addresses(self) -> dict[str, str]:
        return {text: address(file) for text, file in self.files.items()}


Part = Heading | Text | Command | Table | Facts | Legend | Plots | Picture | Rows | Video | Links


def write(path: Path, title: str, parts: Sequence[Part], template: str = "page.html", **values: Any) -> None:
    """Write a page. template: one of reports/templates that extends page.html; values: what else it takes."""
    write_text(path, render(title, parts, template, **values))


def render(title: str, parts: Sequence[Part], template: str = "page.html", **values: Any) -> str:
    import jinja2  # what makes no page does not wait for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    named = [(type(part).__name__.lower(), part) for part in parts]
    return environment.get_template(template).render(
        title=title, parts=named, next_id=itertools.count().__next__, **values
    )


def _noted(value: Any, notes: Mapping[str, str]) -> Cell:
    return value if isinstance(value, Cell) else Cell(str(value), note=notes.get(str(value), ""))


def address(file: str | Path) -> str:
    """A relative path as a page's address of it."""
    return quote(os.fsencode(Path(file).as_posix()))


def jpeg_address(image: np.ndarray) -> str:
    """image: uint8 BGR [H, W, 3], as an address that holds all of it."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def inline_svg(figure: "Figure") -> str:
    """A figure as SVG whose text and axes take the colour of the page's text, light or dark."""
    import matplotlib

    from reports.plots import INK

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    return UNUSED.sub("", drawing)
