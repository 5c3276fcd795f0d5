"""What `make demo` and `inference.py --demo` dub, and what they show of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo import comparison
from dubbing.record import Record
from face_detection import build_detector
from metrics.glossary import GLOSSARY, format_offset
from metrics.published_syncnet import load_scorer
from metrics.videos import Pair, VideoScore, score_video
from models.published import default_scorers
from reports import page
from reports.page import format_table, html
from utils.devices import pick_device
from utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
FOLDER, OUT = ROOT / "demo", ROOT / "demo" / "out"
HEAD = ("video", "scorer", "offset", "LSE-C", "LSE-D")
NOTE = (
    "Left the recording as it is, right the same frames dubbed with another person's sentence, with mouths from other "
    "moments of the recording, which lasts nine seconds; below, the mouths enlarged. No training of the weights saw "
    "these people. An offset counts for as much as its confidence; the recording's own scores stand beside it to "
    "compare. Recordings: GRID corpus, CC BY 4.0, see demo/README.md."
)


@dataclass(frozen=True)
class Person:
    name: str  # of the files
    who: str  # for people
    said: str  # what is said in the recording
    dubbed_with: str  # what the speech says

    @property
    def face(self) -> Path:
        return FOLDER / f"{self.name}.mp4"

    @property
    def speech(self) -> Path:
        return FOLDER / f"{self.name}_speech.ogg"

    @property
    def dubbed(self) -> Path:
        return OUT / f"{self.name}_dubbed.mp4"

    @property
    def beside(self) -> Path:
        return OUT / f"{self.name}_side_by_side.mp4"


PEOPLE = (
    Person("man", "A man (GRID s5)", "bin blue at R nine again", "set white by I six please"),
    Person("woman", "A woman (GRID s34)", "bin blue at I four soon", "lay blue in G seven soon"),
)


def present(device: str, records: Sequence[Record]) -> Path:
    """Score the PEOPLE's dubs, which the records are of, and show them: side-by-side videos, scores.json and the page,
    which is returned. A score in a record stands for the dub."""
    where = pick_device(device)
    detector = build_detector("auto", str(where))
    scorers = [load_scorer(path, where) for path in default_scorers()]
    parts, scores = [html.text(NOTE)], []
    for person, record in zip(PEOPLE, records, strict=True):
        videos = {"source": person.face, "dubbed": person.dubbed}
        comparison.write_video(person.beside, videos, comparison.usual_box(person.face, detector))
        source, dub = (score_video(Pair(video), scorers, detector) for video in (person.face, person.dubbed))
        recorded = record.sync
        if recorded:
            dub = replace(dub, sync=[recorded if sync.scorer == recorded.scorer else sync for sync in dub.sync])
        rows = [HEAD, *_rows(source), *_rows(dub)]
        print(format_table(rows))
        scores += [source.as_json(), dub.as_json()]
        parts += [
            html.heading(f"{person.who}: “{person.said}” becomes “{person.dubbed_with}”"),
            html.video(person.beside.name, "source and dub beside each other"),
            html.table(rows, GLOSSARY),
        ]  # fmt: skip
    write_json(OUT / "scores.json", scores)
    page.write(OUT / "index.html", "Two people dubbed with the bundled weights", parts)
    return OUT / "index.html"


def _rows(score: VideoScore) -> list[tuple[str, ...]]:
    name = Path(score.video).name
    return [(name, sync.scorer, format_offset(sync), f"{sync.lse_c:.2f}", f"{sync.lse_d:.2f}") for sync in score.sync]
