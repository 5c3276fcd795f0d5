"""Plots as matplotlib figures: for pages (reports.page.Plot), or for whatever else shows figures.

matplotlib is imported when the first figure is made: most of what imports this draws none.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1a1b1c"  # of text and axes; in a page it becomes the colour of its text
COLOURS = ("#3b7dd8", "#d8643b", "#3bb273", "#8a5cc2", "#b59b00")  # to be seen on white and on black
KIND_COLOURS = {"": COLOURS[0], "good": "#23854c", "remark": "#d9a017", "bad": "#c0392b", "unknown": "#8b949e"}
SIZE = (4.6, 2.3)  # inches
FONT_SIZE = 9  # points
WAVE_SIZE = (8.0, 0.6)  # inches


def lines(by_name: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str = "") -> "Figure":
    """Lines of (x, y) points by name; a single one needs none (""). across, up: what the axes say."""
    figure, axes = _figure(SIZE)
    for (name, points), colour in zip(by_name.items(), _colours(len(by_name)), strict=True):
        x, y = np.array(points, float).reshape(-1, 2).T
        axes.plot(x, y, color=colour, linewidth=1.6, label=name or None, marker="o" if len(points) < 2 else None)
    axes.ticklabel_format(useOffset=False)  # numbers as they are, however little they change
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if any(by_name):
        axes.legend(frameon=False, fontsize=FONT_SIZE, labelcolor=INK)
    return figure


def bars(values: Sequence[tuple[float, float, str]], across: str, up: str) -> "Figure":
    """values: x, height and kind, which is the bar's colour."""
    figure, axes = _figure(SIZE)
    x, heights, kinds = zip(*values, strict=True) if values else ((), (), ())
    axes.bar(x, heights, width=0.85, color=[KIND_COLOURS[kind] for kind in kinds])
    axes.grid(False, axis="x")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure


def waveform(peaks: np.ndarray) -> "Figure":
    """peaks: [N] in 0..1, as a band around the middle that fills the figure from edge to edge."""
    figure, axes = _figure(WAVE_SIZE)
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.fill_between(np.arange(len(peaks)), -peaks, peaks, color=COLOURS[0], linewidth=0)
    axes.set_xlim(0, max(1, len(peaks) - 1))
    axes.set_ylim(-1, 1)
    figure.set_layout_engine("none")
    return figure


def _figure(size: tuple[float, float]) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(INK)
    axes.tick_params(colors=INK, labelsize=FONT_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(FONT_SIZE)
    axes.grid(True, color=INK, alpha=0.15, linewidth=0.6)
    return figure, axes


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
