"""Plots of how well lips and sound fit, as matplotlib figures. sync: of WindowStream.result."""

from typing import TYPE_CHECKING, Any

from metrics.sync_offset import MAX_SHIFT
from metrics.terms import sync_kind
from reports import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def over_shift(sync: dict[str, Any]) -> "Figure":
    """The distance at every shift: in sync it has one sharp minimum near 0."""
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    return plots.lines({"": list(zip(shifts, sync["curve"], strict=True))}, "shift of the sound in frames", "distance")


def by_second(sync: dict[str, Any]) -> "Figure":
    """The confidence of every second as a bar, coloured by what it says (metrics/terms.py: KINDS)."""
    bars = [(second["second"], second["lse_c"], sync_kind(second, sync["scorer"])) for second in sync["seconds"]]
    return plots.bars(bars, "second", "confidence")
