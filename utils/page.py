"""Small HTML pages that need nothing but themselves: headings, tables, pictures, waveforms, curves."""

import base64
from html import escape
from urllib.parse import quote

import cv2
import numpy as np

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em }
:root { color-scheme: light dark } h2 { margin: 2em 0 .3em; font-size: 1.1em } table { border-collapse: collapse }
td, th { padding: .15em .8em .15em 0; text-align: left } img, svg, video { display: block; max-width: 100% }
.bad { color: #d33 } .remark { color: #b70 }
"""
COLOURS = ("#3b7dd8", "#d8643b", "#3bb273", "#8a5cc2", "#b59b00")


def page(title: str, parts: list[str]) -> str:
    """A whole page of parts that are HTML already."""
    head = f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return "\n".join([head, f"<h1>{escape(title)}</h1>", *parts, ""])


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def table(rows: list[tuple]) -> str:
    """A table of any values; the first row is its head."""
    head, *body = rows
    return f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in body)}</table>"


def _row(cells: tuple, tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


def picture(image: np.ndarray, alternative: str) -> str:
    """image: uint8 BGR [H, W, 3]; alternative: its description in words."""
    encoded = base64.b64encode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/jpeg;base64,{encoded}">'


def video(source: str) -> str:
    """source: the file's address, relative to the page."""
    return f'<video controls loop playsinline src="{quote(source)}"></video>'


def waveform(peaks: np.ndarray, height: int = 40) -> str:
    """peaks: [N] in 0..1, drawn as a band around the middle."""
    upper = " ".join(f"{x},{height / 2 * (1 - peak):.1f}" for x, peak in enumerate(peaks))
    lower = " ".join(f"{x},{height / 2 * (1 + peaks[x]):.1f}" for x in range(len(peaks) - 1, -1, -1))
    size = f'viewBox="0 0 {len(peaks)} {height}" width="{len(peaks)}" height="{height}"'
    return f'<svg {size}><polygon points="{upper} {lower}" fill="{COLOURS[0]}"/></svg>'


def curves(title: str, lines: dict[str, list[tuple[float, float]]], width: int = 560, height: int = 220) -> str:
    """A chart of named lines of (x, y) points, the axes marked at their ends."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points, strict=True))
    left, top, right, bottom = 60, 24, width - 10, height - 24

    def place(x: float, y: float) -> str:
        across = (x - x0) / (x1 - x0 or 1)
        up = (y - y0) / (y1 - y0 or 1)
        return f"{left + across * (right - left):.1f},{bottom - up * (bottom - top):.1f}"

    def text(x: float, y: float, content: str, more: str = "") -> str:
        return f'<text x="{x}" y="{y}" font-size="12" fill="currentColor" {more}>{escape(content)}</text>'

    end = 'text-anchor="end"'
    parts = [
        f'<path d="M{left},{top}V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".4"/>',
        text(left, 14, title), text(left - 5, top + 5, f"{y1:.4g}", end), text(left - 5, bottom, f"{y0:.4g}", end),
        text(left, height - 6, f"{x0:g}"), text(right, height - 6, f"{x1:g}", end),
    ]  # fmt: skip
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(text(right, top + 14 * number, name, f'{end} style="fill:{colour}"'))
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
