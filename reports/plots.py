"""Plots for pages, drawn by matplotlib: html.plot of reports/page.py takes their addresses."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.page import embedded

INK = "#76808c"  # of text and axes: to be read on white and on black, as all colours
COLOURS = ("#3b7dd8", "#d8643b", "#3bb273", "#8a5cc2", "#b59b00")
KIND_COLOURS = {  # of Cell.kind
    "": COLOURS[0], "good": "#23854c", "remark": "#d9a017", "bad": "#c0392b", "unknown": "#8b949e",
}  # fmt: skip
SIZE = (4.6, 2.3)  # inches
FONT_SIZE = 9  # points


def lines(by_name: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str = "") -> str:
    """Lines of (x, y) points by name; a single one needs none (""). across, up: labels of the axes."""
    figure, axes = _figure(across, up)
    for number, (name, points) in enumerate(by_name.items()):
        x, y = np.array(points, float).reshape(-1, 2).T
        colour, marker = COLOURS[number % len(COLOURS)], "o" if len(points) < 2 else None
        axes.plot(x, y, color=colour, linewidth=1.6, label=name or None, marker=marker)
    axes.ticklabel_format(useOffset=False)  # numbers as they are, however little they change
    if any(by_name):
        axes.legend(frameon=False, fontsize=FONT_SIZE, labelcolor=INK)
    return svg(figure)


def bars(values: Sequence[tuple[float, float, str]], across: str, up: str) -> str:
    """values: x, height and kind, which is the bar's colour; across, up: labels of the axes."""
    figure, axes = _figure(across, up)
    for x, height, kind in values:
        axes.bar(x, height, width=0.85, color=KIND_COLOURS[kind])
    axes.grid(False, axis="x")
    return svg(figure)


def _figure(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(INK)
    axes.tick_params(colors=INK, labelsize=FONT_SIZE)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(across, color=INK, fontsize=FONT_SIZE)
    axes.set_ylabel(up, color=INK, fontsize=FONT_SIZE)
    axes.grid(True, color=INK, alpha=0.25, linewidth=0.6)
    return figure, axes


def svg(figure: Figure) -> str:
    """The address of a figure whose letters are the browser's."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return embedded(file.getvalue(), "image/svg+xml")
