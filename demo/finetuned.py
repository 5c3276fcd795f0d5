"""What finetune.py shows at its end: a dub before and after, scores, times, and the command to dub with."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo import comparison
from face_detection import build_detector
from metrics.terms import MEANINGS
from preprocessing.run import Footage
from reports import page
from utils import cli
from utils.devices import pick_device
from utils.stages import Stage

NOTE = (
    "Left the recording as it is; beside it the same frames dubbed with other speech, by the weights that the finetune "
    "started from and by those that came of it; below, the mouths enlarged."
)
BESIDE = "side_by_side.mp4"
MOMENTS = 6  # of which mouths are shown
SCORES = (
    "mouth_l1",
    "mouth_ssim",
    "follows",
    "motion",
    "contrast",
    "gradient_distance",
    "sharpness_ratio",
    "sync_distance",
)


class Result(NamedTuple):
    """face: the dubbed video; weights: the generator to dub with; person: its refiner, if it is worth it; the stages
    of finetune.py."""

    footage: Footage
    face: Path
    weights: Path
    person: Path | None
    generator: Stage
    refiner: Stage
    dubs: Stage

    @property
    def better(self) -> bool:
        """Whether anything is better than the weights that it started from."""
        return bool(self.generator.result["better"]) or self.person is not None

    def in_words(self) -> list[str]:
        kept = "" if self.generator.result["better"] else "; the weights it started from are kept"
        none = "" if self.person else "; dubs are made without one"
        return [
            self.footage.amount,
            f"generator: {self.generator.result['verdict']}{kept}",
            f"refiner: {self.refiner.result['verdict']}{none}",
        ]

    @property
    def kinds(self) -> list[str]:
        """How the lines of in_words are shown."""
        found = (self.footage.enough, self.generator.result["better"], self.refiner.result["better"])
        return ["good" if good else "remark" for good in found]

    def command(self) -> str:
        return cli.command(
            "inference.py", checkpoint_path=self.weights, refine=self.person or "off", face="talk.mp4",
            audio="speech.wav", outfile="out.mp4",
        )  # fmt: skip


def compare(face: Path, folder: Path, device: str) -> dict:
    """Write a video of the source and the dubs in the folder beside each other; returns the face's place in them."""
    videos = _videos(face, folder)
    box = comparison.usual_box(videos["before"], build_detector("auto", str(pick_device(device))))
    comparison.write_video(folder / BESIDE, videos, box)
    return {"box": box.tolist()}


def _videos(face: Path, folder: Path) -> dict[str, Path]:
    return {"source": face, "before": folder / "before.mp4", "after": folder / "after.mp4"}


def present(outdir: Path, result: Result) -> Path:
    """Write the page, which is returned."""
    folder, box = result.dubs.folder, np.array(result.dubs.result["box"])
    mouths = comparison.mouths(_videos(result.face, folder), box, MOMENTS)
    minutes = {"finetune": result.generator, "refiner": result.refiner, "dubs": result.dubs}
    whole = {"the whole dub": folder / "whole.mp4"} if (folder / "whole.mp4").exists() else {}
    links = {
        "finetune, step by step": result.generator.folder / "summary.html",
        "refiner, step by step": result.refiner.folder / "summary.html",
        "the footage": outdir / "preprocessed" / "report.html",
    }  # fmt: skip
    parts: list[page.Part] = [
        *(page.Text(line, kind) for line, kind in zip(result.in_words(), result.kinds, strict=True)),
        page.Heading("Before and after"),
        page.Text(NOTE),
        page.Video((folder / BESIDE).relative_to(outdir).as_posix(), "source, before and after beside each other"),
        page.Rows(mouths, "mouths at the same moments"),
        page.Heading("To dub with it"), page.Command(result.command()),
        page.Heading("Scores on clips kept aside"),
        page.Text("The refiner starts as the enlarged face of the generator that is used."),
        page.Table(_rows(result), MEANINGS),
        page.Heading("Time"),
        page.Table([("stage", "minutes"), *((name, f"{stage.seconds / 60:.1f}") for name, stage in minutes.items())]),
        page.Links({text: path.relative_to(outdir).as_posix() for text, path in (whole | links).items()}),
    ]  # fmt: skip
    page.write(outdir / "index.html", "Before and after the finetune", parts)
    return outdir / "index.html"


def _rows(result: Result) -> list[tuple[str, ...]]:
    """Scores of the generator and the refiner: at their start, and the best or, where that is the start, the last."""
    columns: dict[str, dict[str, float]] = {}
    for name, stage in {"generator": result.generator, "refiner": result.refiner}.items():
        start, best = stage.result["start"], stage.result["best"]
        what, other = ("last", stage.result["evaluations"][-1]) if best["step"] == 0 else ("best", best)
        columns |= {f"{name}, start": start["scores"], f"{name}, {what}": other["scores"]}
    rows = [(name, *(f"{of[name]:.3g}" if name in of else "" for of in columns.values())) for name in SCORES]
    return [("", *columns), *rows]
