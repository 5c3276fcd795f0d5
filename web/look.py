"""A first look at a video that was uploaded: the faces in its first frame, and what is wrong with it. The files that a
look takes and makes lie in a job's folder; it waits in no line."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubbing.options import Options
from web.forms import as_labelled

NONE = "No face in the first frame; one that comes later is found in a dub."
CHOOSE = "Click the face to dub; without a choice the largest one is followed."


@dataclass(frozen=True)
class FirstFrame:
    """picture: uint8 BGR [H, W, 3]; boxes: float [N, 4] from the left, x1 y1 x2 y2 in its pixels."""

    picture: np.ndarray
    boxes: np.ndarray

    def in_words(self) -> str:
        return ["", CHOOSE][len(self.boxes) > 1] if len(self.boxes) else NONE

    def at(self, x: float, y: float) -> int | None:
        """Which face is there."""
        inside = [x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in self.boxes]
        return inside.index(True) if any(inside) else None

    def centre(self, number: int) -> str:
        """What face_at is for a face."""
        x1, y1, x2, y2 = self.boxes[number]
        return f"{(x1 + x2) / 2:.0f},{(y1 + y2) / 2:.0f}"

    def drawn(self, chosen: int | None = None) -> np.ndarray:
        """uint8 RGB [H, W, 3], the faces boxed and numbered."""
        from dubbing.numbered import numbered_faces

        return np.ascontiguousarray(numbered_faces(self.picture, self.boxes, chosen)[..., ::-1])


def first_frame(face: Path, options: Options) -> FirstFrame:
    """Raises InputError for a file that cannot be read."""
    from dubbing.samples import look_at
    from dubbing.source import Source
    from media import yuv
    from utils.devices import pick_device

    source = Source(face, options.transform, options.static, options.frame_rate)
    frames = source.frames_at("yuv420p", [0.0])
    (people,) = look_at(frames, options, str(pick_device(options.device))).detections
    people = people[np.argsort(people[:, 0])]  # from the left, as --face_index counts
    return FirstFrame(yuv.to_bgr(frames[0].picture), people[:, :4].astype(float))


def remarks(face: Path, options: Options) -> str:
    """What a check says of the footage, as Markdown."""
    from dubbing.check import check

    report = check(face, None, face.with_name("look.mp4"), options)
    lines = [f"**Problem:** {line}" for line in report.problems] + [f"- {line}" for line in report.remarks]
    return "\n\n".join(plain(line, face) for line in lines) or "Nothing is wrong with the footage."


def plain(line: str, face: Path) -> str:
    """A line without what is the server's alone, settings called as the form calls them, and without HTML."""
    line = line.replace(f"--face {face}: ", "").replace(str(face), face.name)
    return as_labelled(line).replace("<", "&lt;")
