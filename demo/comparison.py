"""A source and its dubs beside each other, the heads and below them the mouths enlarged; and the page of that which
finetune.py ends with: a dub before and after, scores, times, and the command to dub with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from face_detection.detectors import Detector
from media.reader import VideoReader
from media.writer import VideoWriter
from metrics.glossary import GLOSSARY
from metrics.videos import track_face
from preprocessing.run import Footage
from reports import page
from reports.page import html
from utils import cli

COLUMN = 320  # pixels, the width of a column in the videos
TITLE_HEIGHT = 32
BACKGROUND, INK = 32, (235, 235, 235)
HEAD, MOUTH = ((0.5, 0.4), 1.6, 1.0), ((0.5, 0.79), 0.7, 0.62)  # views: what they show of a frame
EDGE = 3  # pixels along the frame's edges that are not shown: the GRID corpus has dark lines there
BESIDE = "side_by_side.mp4"
SCORES = ("mouth_l1", "mouth_ssim", "follows", "motion", "contrast", "sync_distance")
NOTE = (
    "Left the recording as it is; beside it the same frames dubbed with other speech, by the weights that the finetune "
    "started from and by those that came of it; below, the mouths enlarged."
)


def usual_box(video: Path, detector: Detector) -> np.ndarray:
    """Where the face is for the most part of a video in which it hardly moves: x1, y1, x2, y2 in pixels."""
    track, _ = track_face(VideoReader(video), detector)
    return np.median(track.boxes[track.found], axis=0)


def side_by_side(videos: Mapping[str, Path], box: np.ndarray) -> Iterator[np.ndarray]:
    """Frame by frame a picture of columns, videos under their titles: uint8 BGR [H, videos·COLUMN, 3]."""
    titles = [_title(text) for text in videos]
    for frames in zip(*(VideoReader(path).frames() for path in videos.values()), strict=False):
        columns = [
            np.vstack([title, *(_shown(frame.image, box, view) for view in (HEAD, MOUTH))])
            for title, frame in zip(titles, frames, strict=True)
        ]
        yield np.hstack(columns)


def write_video(path: Path, videos: Mapping[str, Path], box: np.ndarray) -> None:
    """The columns as a video with the sound of the last one."""
    last = list(videos.values())[-1]
    reader = VideoReader(last)
    with VideoWriter(path, reader.rate, last) as writer:
        for number, picture in enumerate(side_by_side(videos, box)):
            writer.write(picture, number / float(reader.rate))


def _shown(image: np.ndarray, box: np.ndarray, view: tuple) -> np.ndarray:
    """A view of a frame, moved and narrowed to lie inside it. view: its middle (x, y in parts of the face's box), its
    width (in parts of the box's height) and its height (in parts of its width)."""
    (x, y), wanted, ratio = view
    x1, y1, x2, y2 = box
    inner = image[EDGE:-EDGE, EDGE:-EDGE]
    height, width = inner.shape[:2]
    shown = min(wanted * (y2 - y1), width, height / ratio)
    across, down = round(shown), round(shown * ratio)
    left = round(np.clip(x1 + x * (x2 - x1) - EDGE - across / 2, 0, width - across))
    top = round(np.clip(y1 + y * (y2 - y1) - EDGE - down / 2, 0, height - down))
    part = inner[top : top + down, left : left + across]
    return cv2.resize(part, (COLUMN, round(COLUMN * ratio)), interpolation=cv2.INTER_CUBIC)


def _title(text: str) -> np.ndarray:
    title = np.full((TITLE_HEIGHT, COLUMN, 3), BACKGROUND, np.uint8)
    return cv2.putText(title, text, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, TITLE_HEIGHT / 48, INK, 1, cv2.LINE_AA)


class Stage(NamedTuple):
    """A stage of finetune.py."""

    folder: Path
    seconds: float  # how long it took, over all parts
    result: dict[str, Any]  # summary.json of a training


class Result(NamedTuple):
    """What finetune.py has made."""

    footage: Footage
    videos: Path  # the folder of the person's videos
    weights: Path  # the generator to dub with
    generator: Stage
    dubs: Stage

    @property
    def better(self) -> bool:
        """Whether the weights are better than those that it started from."""
        return bool(self.generator.result["better"])

    def summary(self) -> dict[str, str]:
        """Lines on footage and generator, and of each its kind (reports/page.py)."""
        kept = "" if self.better else "; the weights it started from are kept"
        lines = {
            self.footage.amount: self.footage.enough,
            f"generator: {self.generator.result['verdict']}{kept}": self.better,
        }
        return {line: "good" if good else "remark" for line, good in lines.items()}

    def command(self) -> str:
        return cli.command(
            "inference.py",
            checkpoint_path=self.weights,
            mouths_from=self.videos,
            face="talk.mp4",
            audio="speech.wav",
            outfile="out.mp4",
        )

    def scores(self) -> list[tuple[str, ...]]:
        """A table of the generator at its start, and at its best or, if that is the start, its last."""
        result = self.generator.result
        what, other = ("best", result["best"]) if result["best"]["step"] else ("last", result["evaluations"][-1])
        columns: dict[str, dict[str, float]] = {"start": result["start"]["scores"], what: other["scores"]}
        rows = [(name, *(f"{of[name]:.3g}" if name in of else "" for of in columns.values())) for name in SCORES]
        return [("", *columns), *rows]


def compare(face: Path, folder: Path, detector: Detector) -> None:
    """Write a video of the source and the dubs in the folder beside each other."""
    videos = {"source": face, "before": folder / "before.mp4", "after": folder / "after.mp4"}
    write_video(folder / BESIDE, videos, usual_box(videos["before"], detector))


def write_page(outdir: Path, result: Result) -> Path:
    """Write the page, which is returned."""
    folder = result.dubs.folder
    stages = {"finetune": result.generator, "dubs": result.dubs}
    links = {
        "the whole dub": folder / "whole.mp4",
        "finetune, step by step": result.generator.folder / "summary.html",
        "the footage": outdir / "preprocessed" / "report.html",
    }  # fmt: skip
    parts = [
        *(html.text(line, kind) for line, kind in result.summary().items()),
        html.heading("Before and after"),
        html.text(NOTE),
        html.video((folder / BESIDE).relative_to(outdir), "source, before and after beside each other"),
        html.heading("To dub with it"), html.command(result.command()),
        html.heading("Scores on held-out clips"),
        html.table(result.scores(), GLOSSARY),
        html.heading("Time"),
        html.table([("stage", "minutes"), *((name, f"{stage.seconds / 60:.1f}") for name, stage in stages.items())]),
        html.links({text: path.relative_to(outdir) for text, path in links.items() if path.exists()}),
    ]  # fmt: skip
    page.write(outdir / "index.html", "Before and after the finetune", parts)
    return outdir / "index.html"
