"""What is known of the data, clip by clip: a table for the terminal, report.json, report.html with pictures."""

from pathlib import Path

import cv2
import numpy as np
import soundfile

from data.clip_record import ClipRecord
from hparams import hparams
from media.reader import read_image
from metrics.footage import BLURRED, LITTLE_FACE, LITTLE_SPEECH, SMALL_FACE
from metrics.sync_offset import TRUSTED_EVIDENCE
from metrics.terms import NOT_MEASURABLE
from reports import page, plots
from utils.files import system_name, write_json

ROWS = 40  # more usable clips than this are summed up in the terminal, not listed
SHOWN = 150  # clips with pictures in report.html; those with something to say come first
STRIP = 8  # faces of a clip
FACE = 96  # pixels, their height
WAVE = 400  # pixels, width of a waveform

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
    "faces": f"Share of the frames with a face. Good: {LITTLE_FACE:.0%} and more; the other frames are left out.",
    "height": f"Of the face in the video. Good: from some 100 px on; below {SMALL_FACE} px it is enlarged and blurred.",
    "sharpness": "Fine detail of the face (variance of the Laplacian). Good: 100 and more, which noise has, too; below "
    f"{BLURRED:g} the face is blurred, and so will be what learns from it.",
    "loudness": "Of the sound, against full scale. Good: -35 to -12 dBFS; quieter speech is raised, noise with it.",
    "speech": f"Share of the time with speech. Good: 50% and more; below {LITTLE_SPEECH:.0%} there is little to learn.",
    "cuts": "Hard cuts: no training window spans one.",
    "offset": "Frames of 40 ms by which the sound is late, and the expert's confidence. Good: -1 to +1; from two on it "
    "is corrected in training. Given only where the expert can tell this clip from the same one shifted.",
    "found": "What was found in the file and changed.",
}


def write(folder: Path, records: list[ClipRecord], remarks: list[str]) -> None:
    """report.json and report.html in the folder that the clips lie in."""
    content = {"total": total(records), "remarks": remarks, "clips": [record.to_json() for record in records]}
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


def total_in_words(records: list[ClipRecord]) -> str:
    sums = total(records)
    return (
        f"{sums['usable']} of {sums['videos']} videos usable, {sums['usable_minutes']} of {sums['minutes']} minutes, "
        f"a face in {sums['faces_found']:.1%} of the frames, speech in {sums['speech_share']:.0%} of the time"
    )


def table(records: list[ClipRecord]) -> str:
    """Rows of all clips, or where they are many, of those with something to say; then the sums."""
    shown = records if len(records) <= ROWS else [record for record in records if record.verdict != "ok"]
    rows = [tuple(COLUMNS), *(_row(record) for record in shown)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([*lines, total_in_words(records)])


def _row(record: ClipRecord) -> tuple[str, ...]:
    if not record.made:
        return (record.clip, *[""] * (len(COLUMNS) - 2), record.verdict)
    return tuple(cell(record) for cell in COLUMNS.values())


def _parts(folder: Path, records: list[ClipRecord], remarks: list[str]) -> list[page.Part]:
    by_need = sorted(records, key=lambda record: (record.usable, record.verdict == "ok"))
    parts: list[page.Part] = [page.Text(total_in_words(records)), *(page.Text(line, "remark") for line in remarks)]
    parts.append(page.Legend("What the numbers mean, and when they are good", NOTES))
    for record in by_need[:SHOWN]:
        kind = "good" if record.verdict == "ok" else "remark" if record.usable else "bad"
        parts += [page.Heading(record.clip), page.Text(record.verdict, kind)]
        if record.made:
            clip = folder / record.clip
            seconds = record.seconds
            wave = page.Plot(plots.waveform(_peaks(clip / "audio.wav", seconds)), "the sound's level over the clip")
            times = [f"{(i + 0.5) * seconds / STRIP:.1f} s" for i in range(STRIP)]
            parts += [
                page.Picture(_strip(clip, record.frames), f"faces of {record.clip}", columns=times, below=wave),
                page.Facts(_facts(record), NOTES),
            ]
    if len(records) > SHOWN:
        rest = [(record.clip, record.verdict) for record in by_need[SHOWN:]]
        parts += [page.Heading("The others"), page.Table([("clip", "verdict"), *rest])]
    return parts


def _facts(record: ClipRecord) -> dict[str, page.Cell]:
    """A clip's numbers by name, coloured where they decide something."""
    bad = {
        "faces": record.faces < LITTLE_FACE * record.frames,
        "height": record.face_height < SMALL_FACE,
        "sharpness": record.sharpness < BLURRED,
        "speech": record.speech_share < LITTLE_SPEECH,
    }
    named = {name: cell(record) for name, cell in COLUMNS.items() if name not in ("clip", "verdict")}
    kinds = {name: "bad" if is_bad else "good" for name, is_bad in bad.items()}
    return {name: page.Cell(text, kinds.get(name, "")) for name, text in named.items()}


def _offset(record: ClipRecord) -> str:
    known = (record.evidence or 0) >= TRUSTED_EVIDENCE
    return f"{record.offset:+d} ({record.confidence:.2f})" if known else NOT_MEASURABLE


def _strip(clip: Path, frames: int) -> np.ndarray:
    """Faces in the middle of each of STRIP parts of the clip, side by side; where there is none, the nearest one."""
    numbers = np.array(sorted(int(path.stem) for path in clip.glob("*.jpg") if path.stem.isdecimal()))
    chosen = [numbers[np.abs(numbers - (i + 0.5) * frames / STRIP).argmin()] for i in range(STRIP)]
    faces = [read_image(clip / f"{number}.jpg") for number in chosen]
    return np.hstack([cv2.resize(face, (FACE * 4 // 5, FACE), interpolation=cv2.INTER_AREA) for face in faces])


def _peaks(sound: Path, seconds: float) -> np.ndarray:
    """The largest level in each of WAVE parts of that time, as a part of the loudest: float [WAVE]. 0 where the sound
    has ended."""
    size = max(1, round(seconds * soundfile.info(system_name(sound)).samplerate / WAVE))
    blocks = soundfile.blocks(system_name(sound), blocksize=size, frames=size * WAVE, dtype="float32")
    peaks = np.array([np.abs(block).max() for block in blocks])
    return np.pad(peaks, (0, WAVE - len(peaks))) / max(1e-6, peaks.max(initial=0))
