"""Rectangles of whole pixels."""

from typing import NamedTuple

SMALLEST_SIDE = 2  # pixels


class Rect(NamedTuple):
    """A rectangle inside a frame; x2 and y2 are the first pixels outside."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def usable(self) -> bool:
        """Whether there is something to cut out."""
        return min(self.width, self.height) >= SMALLEST_SIDE
