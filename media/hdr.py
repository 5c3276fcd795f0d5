"""What HDR video says about the screen it was made on, and how encoders are told to say it again."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from media.findings import note

LOST = {"DOVI_RPU_BUFFER": "Dolby Vision layer lost", "DYNAMIC_HDR_PLUS": "HDR10+ data lost"}
X265_UNITS = {"chromaticity": 50_000, "luminance": 10_000}


@dataclass(frozen=True)
class HdrMetadata:
    """chromaticity: (x, y) of red, green, blue and white of the mastering display; luminance: its least and greatest,
    in cd/m²; light: greatest level of a pixel and of a frame's average, in cd/m². None: not said."""

    chromaticity: tuple[tuple[Fraction, Fraction], ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None

    def options(self, encoder: str) -> dict[str, str]:
        """Options that make the encoder write this; none where it cannot."""
        light = ",".join(map(str, self.light)) if self.light else None
        if encoder == "libx265":
            display = _display(self, X265_UNITS["chromaticity"], X265_UNITS["luminance"])
            return _joined("x265-params", {"master-display": display, "max-cll": light})
        if encoder == "libsvtav1":
            return _joined("svtav1-params", {"mastering-display": _display(self), "content-light": light})
        return {}


def hdr_metadata(picture: Any, findings: list[str]) -> HdrMetadata | None:
    """What the side data of a decoded picture says; None without any. What cannot be handed on is noted."""
    note(findings, *(phrase for kind, phrase in LOST.items() if _side_data(picture, kind)))
    mastering = _side_data(picture, "MASTERING_DISPLAY_METADATA")
    light = _side_data(picture, "CONTENT_LIGHT_LEVEL")
    if not mastering and not light:
        return None
    chromaticity = luminance = None
    if mastering:  # AVMasteringDisplayMetadata: ten pairs of numerator and denominator, then two flags
        numbers = np.frombuffer(mastering, np.int32).tolist()
        values = [Fraction(numbers[i], numbers[i + 1] or 1) for i in range(0, 20, 2)]
        has_chromaticity, has_luminance = numbers[20:22]
        chromaticity = tuple((values[i], values[i + 1]) for i in range(0, 8, 2)) if has_chromaticity else None
        luminance = (values[8], values[9]) if has_luminance else None
    levels = np.frombuffer(light, np.uint32).tolist() if light else None
    return HdrMetadata(chromaticity, luminance, (levels[0], levels[1]) if levels else None)


def _side_data(picture: Any, kind: str) -> bytes:
    try:
        return bytes(picture.side_data[kind])
    except (KeyError, ValueError):  # ValueError: PyAV meets a kind of side data that it does not know
        return b""


def _display(hdr: HdrMetadata, chromaticity_units: int = 0, luminance_units: int = 0) -> str | None:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(greatest,least), in whole units where these are given."""

    def pair(values: tuple[Fraction, Fraction], units: int) -> str:
        return ",".join(str(round(value * units)) if units else f"{float(value):.5f}" for value in values)

    if hdr.chromaticity is None or hdr.luminance is None:
        return None
    red, green, blue, white = (pair(point, chromaticity_units) for point in hdr.chromaticity)
    return f"G({green})B({blue})R({red})WP({white})L({pair(hdr.luminance[::-1], luminance_units)})"


def _joined(name: str, parameters: dict[str, str | None]) -> dict[str, str]:
    given = [f"{key}={value}" for key, value in parameters.items() if value]
    return {name: ":".join(given)} if given else {}
