"""Pictures as arrays: rectangles and halves of them, sharpness, and contact sheets to compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from utils.files import write_bytes

Faces = TypeVar("Faces", bound=Any)  # np.ndarray or torch.Tensor; PyTorch is not imported here

SIDE = 192  # pixels that a picture measures at least
LABEL_WIDTH = 120  # pixels
HEAD_HEIGHT = 32  # pixels, of the columns' labels
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.6
BACKGROUND, INK = 32, (235, 235, 235)
TEXT_MARGIN = 10  # pixels around a text
SMALLEST_SIDE = 2  # pixels, of a rectangle with something to cut out


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


def lower_half(faces: Faces, height_axis: int = -2) -> Faces:
    """The lower half of faces, a view. height_axis: -2 for tensors [..., H, W], -3 for pictures [..., H, W, 3]."""
    rows = slice(faces.shape[height_axis] // 2, None)
    index: Any = (..., rows, *[slice(None)] * (-height_axis - 1))
    return faces[index]


def sharpness(picture: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Variance of the Laplacian of grey levels (0..255) of uint8 BGR [H, W, 3], under weights [H, W]. Noise is as sharp
    as detail; a face that was filmed small, or a larger crop of the same face, is less sharp."""
    edges = cv2.Laplacian(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_BGR2GRAY), cv2.CV_32F)
    if weights is None:
        return float(edges.var())
    return float(np.average(np.square(edges - np.average(edges, weights=weights)), weights=weights))


def labelled_rows(rows: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str] = ()) -> np.ndarray:
    """By label, pictures uint8 BGR [H, W, 3], all of one size -> uint8 BGR, row below row, under the columns' labels
    where there are some. Pictures smaller than SIDE are enlarged to it."""
    drawn = [np.hstack([_label(label, pictures[0]), *map(_enlarged, pictures)]) for label, pictures in rows.items()]
    return np.vstack([_head(columns, drawn[0].shape[1]), *drawn] if columns else drawn)


def square_around(picture: np.ndarray, rect: Rect, margin: float, size: int) -> np.ndarray:
    """uint8 BGR [size, size, 3]: a face, and around it `margin` of its longer side; beyond the picture its last pixels
    go on."""
    side = round(max(rect.width, rect.height) * (1 + 2 * margin))
    x, y = (rect.x1 + rect.x2 - side) // 2, (rect.y1 + rect.y2 - side) // 2
    rows = np.clip(np.arange(y, y + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(x, x + side), 0, picture.shape[1] - 1)
    way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(picture[rows[:, None], columns], (size, size), interpolation=way)


def _head(columns: Sequence[str], width: int) -> np.ndarray:
    """uint8 BGR [HEAD_HEIGHT, width, 3]: the columns' labels, each above its column's middle."""
    head, side = np.full((HEAD_HEIGHT, width, 3), BACKGROUND, np.uint8), (width - LABEL_WIDTH) / len(columns)
    for number, text in enumerate(columns):
        (length, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
        place = round(LABEL_WIDTH + (number + 0.5) * side - length / 2), (HEAD_HEIGHT + height) // 2
        cv2.putText(head, text, place, FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
    return head


def write_png(path: Path, picture: np.ndarray) -> None:
    """picture: uint8 BGR [H, W, 3]."""
    write_bytes(path, cv2.imencode(".png", picture)[1].tobytes())


def _enlarged(picture: np.ndarray) -> np.ndarray:
    scale = SIDE / min(picture.shape[:2])
    return picture if scale <= 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _label(text: str, beside: np.ndarray) -> np.ndarray:
    """uint8 BGR [height of the picture as shown, LABEL_WIDTH, 3]."""
    label = np.full((len(_enlarged(beside)), LABEL_WIDTH, 3), BACKGROUND, np.uint8)
    cv2.putText(label, text, (TEXT_MARGIN, len(label) // 2), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
    return label
