"""What is known of the data, clip by clip: a table for the terminal, report.json, report.html with pictures."""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import soundfile

from data.clip import ClipRecord
from hparams import hparams
from media.reader import read_image
from metrics.glossary import MIN_FACE_HEIGHT, MIN_FACE_SHARE, MIN_SHARPNESS, MIN_SPEECH_SHARE, NOT_MEASURABLE
from metrics.sync import SIGNIFICANT_Z_SCORE
from reports import page
from reports.page import Cell, format_table, html
from utils.files import system_name, write_json

MAX_ROWS = 40  # more usable clips than this are summed up in the terminal, not listed
MAX_PICTURED = 150  # clips with pictures in report.html; those with something to say come first
STRIP = 8  # faces of a clip
FACE_HEIGHT, FACE_WIDTH = 96, 76  # pixels
WAVE_HEIGHT, WAVE_COLOUR = 40, (216, 125, 59)  # pixels; BGR

COLUMNS = {
    "clip": lambda r: r.clip,
    "seconds": lambda r: f"{r.seconds:.2f}",
    "fps in": lambda r: f"{r.fps_in:g}" if r.fps_in is not None else "",
    "faces": lambda r: f"{r.faces / r.frames:.1%}",
    "height": lambda r: f"{r.face_height} px",
    "sharpness": lambda r: f"{r.sharpness:.0f}",
    "loudness": lambda r: f"{r.loudness_dbfs:.0f} dBFS",
    "speech": lambda r: f"{r.speech_share:.0%}",
    "cuts": lambda r: str(len(r.cuts)) if r.cuts is not None else "",
    "offset": lambda r: _offset(r) if r.offset is not None else "",
    "found": lambda r: ", ".join(r.findings or []),
    "verdict": lambda r: r.verdict,
}  # fmt: skip
NOTES = {
    "fps in": f"Frames a second of the video; clips have {hparams.fps}.",
    "faces": f"Share of the frames with a face. Good: {MIN_FACE_SHARE:.0%} and more; the other frames are left out.",
    "height": f"Of the face in the video. Good: from some 100 px on; below {MIN_FACE_HEIGHT} px it is blurred.",
    "sharpness": "Fine detail of the face (variance of the Laplacian). Good: 100 and more, which noise has, too; below "
    f"{MIN_SHARPNESS:g} the face is blurred, and so will be what learns from it.",
    "loudness": "Of the sound, against full scale. Good: -35 to -12 dBFS; quieter speech is raised, noise with it.",
    "speech": f"Share of the time with speech. Good: 50% and more; below {MIN_SPEECH_SHARE:.0%} is too little.",
    "cuts": "Hard cuts: no training window spans one.",
    "offset": "Frames of 40 ms by which the sound is late, and the expert's confidence. Good: -1 to +1; from two on it "
    "is corrected in training. Given only where the expert can tell this clip from the same one shifted.",
    "found": "What was found in the file and changed.",
}


def write(folder: Path, records: list[ClipRecord], remarks: list[str]) -> None:
    """report.json and report.html in the folder that the clips lie in."""
    content = {"total": total(records), "remarks": remarks, "clips": [asdict(record) for record in records]}
    write_json(folder / "report.json", content)
    page.write(folder / "report.html", "The data before training", _parts(folder, records, remarks))


def total(records: list[ClipRecord]) -> dict:
    """Sums over all clips."""
    made = [record for record in records if record.made]
    frames, faces = sum(record.frames for record in made), sum(record.faces for record in made)
    return {
        "videos": len(records),
        "usable": sum(record.usable for record in records),
        "minutes": round(sum(record.seconds for record in made) / 60, 2),
        "usable_minutes": round(sum(record.seconds for record in made if record.usable) / 60, 2),
        "faces_found": round(faces / frames, 4) if frames else 0.0,
        "speech_share": round(float(np.mean([record.speech_share for record in made])), 3) if made else 0.0,
        "offsets_corrected": sum(record.sound_offset != 0 for record in records),
    }


def format_total(records: list[ClipRecord]) -> str:
    sums = total(records)
    return (
        f"{sums['usable']} of {sums['videos']} videos usable, {sums['usable_minutes']} of {sums['minutes']} minutes, "
        f"a face in {sums['faces_found']:.1%} of the frames, speech in {sums['speech_share']:.0%} of the time"
    )


def table(records: list[ClipRecord]) -> str:
    """Rows of all clips, or if they are many, of those with something to say; then the sums."""
    shown = records if len(records) <= MAX_ROWS else [record for record in records if record.verdict != "ok"]
    return f"{format_table([tuple(COLUMNS), *map(_row, shown)])}\n{format_total(records)}"


def _row(record: ClipRecord) -> tuple[str, ...]:
    if not record.made:
        return (record.clip, *[""] * (len(COLUMNS) - 2), record.verdict)
    return tuple(cell(record) for cell in COLUMNS.values())


def _parts(folder: Path, records: list[ClipRecord], remarks: list[str]) -> list:
    by_need = sorted(records, key=lambda record: (record.usable, record.verdict == "ok"))
    parts = [html.text(format_total(records)), *(html.text(line, "remark") for line in remarks)]
    parts.append(html.legend(NOTES, NOTES, "What the numbers mean, and when they are good"))
    for record in by_need[:MAX_PICTURED]:
        kind = "good" if record.verdict == "ok" else "remark" if record.usable else "bad"
        parts += [html.heading(record.clip), html.text(record.verdict, kind)]
        if record.made:
            times = [f"{(i + 0.5) * record.seconds / STRIP:.1f} s" for i in range(STRIP)]
            picture = np.vstack((_strip(folder, record), _waveform(folder, record)))
            alt = f"faces of {record.clip}, and the level of its sound"
            parts += [html.picture(picture, alt, times), html.facts(_facts(record), NOTES)]
    if len(records) > MAX_PICTURED:
        rest = [(record.clip, record.verdict) for record in by_need[MAX_PICTURED:]]
        parts += [html.heading("The others"), html.table([("clip", "verdict"), *rest])]
    return parts


def _facts(record: ClipRecord) -> dict[str, Cell]:
    """A clip's numbers by name, coloured where they decide something."""
    bad = {
        "faces": record.faces < MIN_FACE_SHARE * record.frames,
        "height": record.face_height < MIN_FACE_HEIGHT,
        "sharpness": record.sharpness < MIN_SHARPNESS,
        "speech": record.speech_share < MIN_SPEECH_SHARE,
    }
    kinds = {name: "bad" if is_bad else "good" for name, is_bad in bad.items()}
    named = {name: cell(record) for name, cell in COLUMNS.items() if name not in ("clip", "verdict")}
    return {name: Cell(text, kinds.get(name, "")) for name, text in named.items()}


def _offset(record: ClipRecord) -> str:
    known = (record.evidence or 0) >= SIGNIFICANT_Z_SCORE
    return f"{record.offset:+d} ({record.confidence:.2f})" if known else NOT_MEASURABLE


def _strip(folder: Path, record: ClipRecord) -> np.ndarray:
    """Faces in the middle of each of STRIP parts of the clip, side by side; where there is none, the nearest one."""
    clip = folder / record.clip
    numbers = np.array(sorted(int(path.stem) for path in clip.glob("*.jpg") if path.stem.isdecimal()))
    chosen = [numbers[np.abs(numbers - (i + 0.5) * record.frames / STRIP).argmin()] for i in range(STRIP)]
    faces = [read_image(clip / f"{number}.jpg") for number in chosen]
    return np.hstack([cv2.resize(face, (FACE_WIDTH, FACE_HEIGHT), interpolation=cv2.INTER_AREA) for face in faces])


def _waveform(folder: Path, record: ClipRecord) -> np.ndarray:
    """The largest level in each part of the clip's time, over the loudest, as a band that is as wide as the strip:
    uint8 BGR [WAVE_HEIGHT, STRIP * FACE_WIDTH, 3]. 0 where the sound has ended."""
    sound, width = system_name(folder / record.clip / "audio.wav"), STRIP * FACE_WIDTH
    size = max(1, round(record.seconds * soundfile.info(sound).samplerate / width))
    blocks = soundfile.blocks(sound, blocksize=size, frames=size * width, dtype="float32")
    peaks = np.array([np.abs(block).max() for block in blocks])
    peaks = np.pad(peaks, (0, width - len(peaks))) / max(1e-6, peaks.max(initial=0))
    inside = np.abs(np.linspace(-1, 1, WAVE_HEIGHT))[:, None] <= peaks
    return np.where(inside[..., None], WAVE_COLOUR, 255).astype(np.uint8)
