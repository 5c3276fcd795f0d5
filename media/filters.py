"""FFmpeg's filters that make decoded pictures progressive and upright, before anything else sees them.

A display matrix maps the point (x, y) of the stored picture to (a x + c y, b x + d y) of the shown one; y points down:

    a  b     1  0   as it is      -1  0   mirrored left to right     0  1   a quarter turn      0  1   mirrored along
    c  d     0  1                  0  1                             -1  0   clockwise           1  0   the diagonal
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np

from media import yuv
from media.formats import DEINTERLACE
from media.opening import add_notice

UPRIGHT = {  # by a > 0, d > 0
    (True, True): (), (False, True): ("hflip",), (True, False): ("vflip",), (False, False): ("vflip", "hflip"),
}  # fmt: skip
LYING = {  # by b > 0, c > 0
    (True, False): ("transpose=clock",), (False, True): ("transpose=cclock",),
    (True, True): ("transpose=cclock_flip",), (False, False): ("transpose=clock_flip",),
}  # fmt: skip
BWDIF = "bwdif=mode={}:deint=interlaced"  # of which idet before it decides picture by picture
BOTTOM_UP = "copy"  # brings rows that are stored, or by vflip are read, from the last to the first, into usual order
FITTED = "scale={0}:{1}:force_original_aspect_ratio=decrease:flags=bilinear+accurate_rnd+full_chroma_int"
BARS = "pad={0}:{1}:-1:-1"  # black, on both sides
CROPPING_FORMATS = {"mov", "matroska"}  # containers that may say what not to show
YCGCO = "colorspace=ispace=ycgco:iall=bt709:all=bt709:fast=1"  # which nothing else here converts


def upright_frames(
    pictures: Iterable[Any],
    deinterlace: str,
    findings: list[str],
    size: tuple[int, int] | None = None,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Iterator[Any]:
    """The pictures cropped, upright, of one size, and deinterlaced from the first interlaced one on. Pictures that need
    none of this pass unchanged.

    deinterlace: a key of DEINTERLACE; "field" makes two pictures, with times of their own, of an interlaced one; size:
    width and height into which all are fitted, by default those of the first; margins: as of hidden_margins().
    """
    left, right, top, bottom = margins
    graph, built_for, rotation, interlaced = None, None, None, False
    filters: tuple[str, ...]
    upright: tuple[str, ...] = ()
    for picture in pictures:
        if picture.rotation != rotation:  # the matrix is not read of every picture: that puts one in a reference cycle
            upright, rotation = rotation_filters(picture), picture.rotation
        if picture.interlaced_frame:
            add_notice(findings, "interlaced" if deinterlace == "off" else "deinterlaced")
            interlaced = deinterlace != "off"
        filters = ("idet", BWDIF.format(DEINTERLACE[deinterlace])) if interlaced else ()
        shown = picture.width, picture.height
        if any(margins) and shown[0] > left + right and shown[1] > top + bottom:
            shown = shown[0] - left - right, shown[1] - top - bottom
            filters += ("crop={}:{}:{}:{}:exact=1".format(*shown, left, top),)
        filters += (*upright, YCGCO) if picture.colorspace == yuv.YCGCO else upright
        shown = shown[::-1] if is_lying(upright) else shown
        size = size or shown
        if shown != size:
            add_notice(findings, f"size changes to {shown[0]}x{shown[1]} on the way")
            filters += FITTED.format(*size), BARS.format(*size)
        elif filters[-1:] == ("vflip",) or picture.planes[0].line_size < 0:
            filters += (BOTTOM_UP,)
        kind = (filters, picture.format.name, picture.width, picture.height)
        if kind != built_for:
            yield from _filtered(graph, None)
            graph, built_for = _graph(picture, filters) if filters else None, kind
        yield from _filtered(graph, picture) if graph else (picture,)
    yield from _filtered(graph, None)


def hidden_margins(container: Any, stream: Any) -> tuple[int, int, int, int]:
    """Pixels at the left, right, top and bottom of the stored pictures that the container says not to show (clean
    aperture). PyAV gives them only in its description of the file."""
    if not CROPPING_FORMATS & set(container.format.name.split(",")):
        return 0, 0, 0, 0
    av.logging.set_level(av.logging.INFO)
    try:
        described = container.dumps_format()
    finally:
        av.logging.set_level(None)
    ours = described.partition(f"Stream #0:{stream.index}")[2].partition("Stream #0:")[0]
    found = re.search(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", ours)
    return (int(found[1]), int(found[2]), int(found[3]), int(found[4])) if found else (0, 0, 0, 0)


def rotation_filters(picture: Any) -> tuple[str, ...]:
    """The filters that bring a picture upright."""
    a, b, c, d = matrix(picture)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return UPRIGHT[a > 0, d > 0]
    return LYING[b > 0, c > 0]


def is_lying(filters: tuple[str, ...]) -> bool:
    """Whether they exchange width and height."""
    return any(name.startswith("transpose") for name in filters)


def orientation(picture: Any) -> list[str]:
    """What a player has to do to the picture: "rotated", "mirrored", both or nothing."""
    a, b, c, d = matrix(picture)
    found = ["mirrored"] if a * d - b * c < 0 else []
    return (["rotated"] if rotation_filters(picture) not in ((), ("hflip",), ("vflip",)) else []) + found


def matrix(picture: Any) -> tuple[int, int, int, int]:
    """a, b, c, d of the display matrix, in 1/65536."""
    try:
        data = picture.side_data["DISPLAYMATRIX"]
    except (KeyError, ValueError):  # ValueError: PyAV meets a kind of side data that it does not know
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    return a, b, c, d


def _graph(picture: Any, filters: tuple[str, ...]) -> Any:
    graph = av.filter.Graph()
    properties = {
        "video_size": f"{picture.width}x{picture.height}",
        "pix_fmt": picture.format.name,
        "time_base": picture.time_base,
        "colorspace": int(picture.colorspace),
        "range": int(picture.color_range),
    }
    source = graph.add("buffer", ":".join(f"{name}={value}" for name, value in properties.items()))
    between = [graph.add(*filter.split("=", 1)) for filter in filters]
    graph.link_nodes(source, *between, graph.add("buffersink")).configure()
    return graph


def _filtered(graph: Any, picture: Any) -> Iterator[Any]:
    """What comes out of the graph, if there is one, when a picture goes in, or None at the end."""
    if graph is None:
        return
    graph.vpush(picture)
    with suppress(BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()
