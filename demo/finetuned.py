"""What finetune.py shows at its end: a dub before and after, scores, times, and the command to dub with."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo import comparison
from face_detection import build_detector
from preprocessing.footage import Footage
from reports import page
from utils import commands
from utils.devices import pick_device
from utils.stages import Stage

NOTE = (
    "Left the recording as it is; beside it the same frames dubbed with other speech, by the weights that the finetune "
    "started from and by those that came of it; below, the mouths enlarged."
)
MOMENTS = 6  # of which mouths are shown
SCORES = {  # of a summary: what they are called, and how they are best
    "mouth_l1": "mouth L1, less is better", "mouth_ssim": "mouth SSIM, 1 is best",
    "follows": "follows the true mouth, 1 is best", "motion": "motion, 1 is best", "contrast": "contrast, 1 is best",
    "gradient_distance": "distance of gradients, less is better", "sharpness": "sharpness, 1 is best",
    "sync_distance": "sync distance, less is better",
}  # fmt: skip


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

    def command(self) -> str:
        return commands.command(
            "inference.py", checkpoint_path=self.weights, refine=self.person or "off", face="talk.mp4",
            audio="speech.wav", outfile="out.mp4",
        )  # fmt: skip


def present(outdir: Path, result: Result, device: str) -> Path:
    """Write the page, which is returned, and the videos beside each other."""
    folder = result.dubs.folder
    videos = {"source": result.face, "before": folder / "before.mp4", "after": folder / "after.mp4"}
    beside = folder / "side_by_side.mp4"
    box = comparison.usual_box(videos["before"], build_detector("auto", str(pick_device(device))))
    comparison.write_video(beside, videos, box)
    mouths = {title: np.hstack(comparison.mouths(path, box, MOMENTS)) for title, path in videos.items()}
    minutes = {"finetune": result.generator, "refiner": result.refiner, "dubs": result.dubs}
    whole = {"the whole dub": folder / "whole.mp4"} if (folder / "whole.mp4").exists() else {}
    links = {
        "finetune, step by step": result.generator.folder / "summary.html",
        "refiner, step by step": result.refiner.folder / "summary.html",
        "the footage": outdir / "preprocessed" / "report.html",
    }  # fmt: skip
    parts: list[page.Part] = [
        *(page.Text(line) for line in result.in_words()),
        page.Heading("Before and after"),
        page.Text(NOTE),
        page.Video(beside.relative_to(outdir).as_posix(), "source, before and after beside each other"),
        page.Rows(mouths, "mouths at the same moments"),
        page.Heading("To dub with it"), page.Command(result.command()),
        page.Heading("Scores on clips kept aside"),
        page.Text("Generator: start and best. Refiner: the enlarged face of that generator, and refined."),
        page.Table(_rows(result)),
        page.Heading("Time"),
        page.Table([("stage", "minutes"), *((name, f"{stage.seconds / 60:.1f}") for name, stage in minutes.items())]),
        page.Links({text: path.relative_to(outdir).as_posix() for text, path in (whole | links).items()}),
    ]  # fmt: skip
    page.write(outdir / "index.html", "Before and after the finetune", parts)
    return outdir / "index.html"


def _rows(result: Result) -> list[tuple[str, ...]]:
    columns = [entry["scores"] for stage in (result.generator, result.refiner)
               for entry in (stage.result["start"], stage.result["best"])]  # fmt: skip
    rows = [
        (words, *(f"{scores[name]:.3g}" if name in scores else "" for scores in columns))
        for name, words in SCORES.items()
        if any(name in scores for scores in columns)
    ]
    return [("score", "generator, start", "generator, best", "enlarged", "refined"), *rows]
