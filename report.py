"""What preprocessing found, clip by clip: a table for the terminal, report.json for programs."""

import json
from pathlib import Path

from cli import write_text

ROWS = 40  # more usable clips than this are summed up, not listed
HEADER = ("clip", "seconds", "fps in", "faces", "height", "loudness", "verdict")


def write(path: Path, records: list[dict]) -> None:
    write_text(path, json.dumps({"total": total(records), "clips": records}, indent=1, ensure_ascii=False) + "\n")


def total(records: list[dict]) -> dict:
    """Sums over all clips."""
    made = [record for record in records if "frames" in record]
    frames, faces = sum(record["frames"] for record in made), sum(record["faces"] for record in made)
    return {
        "videos": len(records),
        "usable": sum(record["usable"] for record in records),
        "minutes": round(sum(record["seconds"] for record in made) / 60, 2),
        "faces_found": round(faces / frames, 4) if frames else 0.0,
    }


def table(records: list[dict]) -> str:
    """Rows of all clips, or where they are many, of those with something to say; then the sums."""
    shown = records if len(records) <= ROWS else [record for record in records if record["verdict"] != "ok"]
    rows = [HEADER, *(_row(record) for record in shown)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    sums = total(records)
    lines.append(
        f"{sums['usable']} of {sums['videos']} videos usable, {sums['minutes']} minutes, "
        f"a face in {sums['faces_found']:.1%} of the frames"
    )
    return "\n".join(lines)


def _row(record: dict) -> tuple[str, ...]:
    if "frames" not in record:
        return (record["clip"], "", "", "", "", "", record["verdict"])
    return (
        record["clip"],
        f"{record['seconds']:.2f}",
        f"{record['fps_in']:g}",
        f"{record['faces'] / record['frames']:.1%}",
        f"{record['face_height']} px",
        f"{record['loudness_dbfs']:.0f} dBFS",
        record["verdict"],
    )
