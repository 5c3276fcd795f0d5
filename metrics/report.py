"""Scores for people: tables for the terminal, pages with plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metrics import plots
from metrics.articulation import ARTICULATION
from metrics.evaluation import means
from metrics.terms import KINDS, MEANINGS, NOT_MEASURABLE, WHY_NOT, offset_in_words, sync_in_words, sync_kind
from reports import page

LIKENESS = ("mouth L1", "PSNR", "SSIM", "sharpness", "gradient distance")
ONE_CLIP = "one clip has no other: it is dubbed with its own speech; two or more in eval.txt show dubs with another's"
SHARP, SMEARED = (0.7, 1.4), 0.4  # ratios of sharpness that are good, and below which a mouth is visibly blurred


def video_rows(results: list[dict]) -> list[tuple[str | page.Cell, ...]]:
    """A table, the first row its head: one row for every video and scorer, and the mean where there are several."""
    rows: list[tuple[str | page.Cell, ...]] = [("video", "scorer", "offset", "LSE-D", "LSE-C", *LIKENESS)]
    for result in results:
        likeness = _likeness(result.get("reference"))
        for sync in result["sync"]:
            offset = page.Cell(
                offset_in_words(sync), sync_kind(sync, sync["scorer"]), "" if sync["measurable"] else WHY_NOT
            )
            numbers = (offset, f"{sync['lse_d']:.3f}", f"{sync['lse_c']:.3f}")
            rows.append((Path(result["video"]).name, sync["scorer"], *numbers, *likeness))
    for mean in means(results) if len(results) > 1 else ():
        near = "" if mean["within_1"] is None else f", {mean['within_1']:.0%} of these within one frame"
        name = f"mean of {mean['videos']}: {mean['measurable']} measurable{near}"
        rows.append((name, mean["scorer"], "", f"{mean['lse_d']:.3f}", f"{mean['lse_c']:.3f}", *[""] * len(LIKENESS)))
    return rows


def _likeness(like: dict | None) -> tuple[str | page.Cell, ...]:
    if like is None:
        return ("",) * len(LIKENESS)
    ratio = like["sharpness_ratio"]
    kind = "good" if SHARP[0] <= ratio <= SHARP[1] else "bad" if ratio < SMEARED else "remark"
    return (
        f"{like['l1']:.4f}", f"{like['psnr']:.1f} dB", f"{like['ssim']:.3f}", page.Cell(f"{ratio:.2f}", kind),
        f"{like['gradient_distance']:.3f}",
    )  # fmt: skip


def as_text(rows: Sequence[Sequence[Any]]) -> str:
    """The table in columns, empty ones left out."""
    texts = [[str(cell) for cell in row] for row in rows]
    shown = [i for i in range(len(texts[0])) if any(row[i] for row in texts[1:])]
    widths = {i: max(len(row[i]) for row in texts) for i in shown}
    return "\n".join("  ".join(row[i].ljust(widths[i]) for i in shown).rstrip() for row in texts)


def video_text(results: list[dict]) -> str:
    """The table, and what there is to say of it."""
    known = all(sync["measurable"] for result in results for sync in result["sync"])
    return as_text(video_rows(results)) + ("" if known else f"\n{WHY_NOT}")


def video_parts(results: list[dict]) -> list[page.Part]:
    """The table, and for every video plots of distance over shift and of confidence by second."""
    rows, scorers = video_rows(results), list(dict.fromkeys(s["scorer"] for result in results for s in result["sync"]))
    if len(scorers) == 1:
        rows = [(row[0], *row[2:]) for row in rows]
    names = [name for i, name in enumerate(rows[0]) if name in MEANINGS and any(str(row[i]) for row in rows[1:])]
    meanings = {str(name): MEANINGS[str(name)] for name in names} | {NOT_MEASURABLE: WHY_NOT}
    parts: list[page.Part] = [
        page.Table(rows, MEANINGS), page.Text(f"Scored by {', '.join(scorers)}."),
        page.Legend("What the numbers mean", meanings),
    ]  # fmt: skip
    for result in results:
        parts.append(page.Heading(Path(result["video"]).name))
        drawn = []
        for sync in result["sync"]:
            of = f"{sync['scorer']}: " if len(scorers) > 1 else ""
            parts.append(page.Text(sync_in_words(sync), sync_kind(sync, sync["scorer"])))
            drawn.append(page.Plot(plots.over_shift(sync), "distance over shift", f"{of}distance by shift"))
            if len(sync["seconds"]) > 1:
                alt = "confidence by second: " + ", ".join(f"{s['second']}: {s['lse_c']:.2f}" for s in sync["seconds"])
                drawn.append(page.Plot(plots.by_second(sync), alt, f"{of}confidence by second"))
        parts.append(page.Plots(drawn))
    signs = {"good": "green", "remark": "yellow", "bad": "red", "unknown": "grey"}
    key = ". ".join(f"{colour.capitalize()}: {KINDS[kind]}" for kind, colour in signs.items())
    return [*parts, page.Text(f"Colours of the seconds. {key}.")]


def generator_text(result: dict) -> str:
    """What evaluate_generator found: a table of likeness, and one of lip-sync for every expert."""
    names = ("mouth_l1", "mouth_ssim", *ARTICULATION)
    likeness: list[tuple[str, ...]] = [(f"{result['clips']} clips", *names)]
    for case, values in result["likeness"].items():
        likeness.append((case, f"{values['mouth_l1']:.4f}", *(f"{values[name]:.3f}" for name in names[1:])))
    parts = [as_text(likeness), f"L1 in the mouth's region: {result['l1_to_copying']:.2f} of that of the other frame"]
    parts += [ONE_CLIP] if result["clips"] == 1 else []
    for expert in result["experts"]:
        head = ("", "distance", "confidence", "within one frame", "measurable", "offsets of these")
        rows: list[tuple[str, ...]] = [head]
        for case, sync in expert["sync"].items():
            numbers = (
                f"{sync['distance']:.3f}",
                f"{sync['confidence']:.3f}",
                f"{sync['within_1']:.0%}",
                f"{sync['measurable']:.0%}",
            )
            rows.append((case, *numbers, _commonest(sync["offsets"])))
        parts += ["", f"{expert['expert']}: {_accuracy_text(expert['sync_accuracy'])}", as_text(rows)]
    return "\n".join(parts)


def _accuracy_text(accuracy: dict) -> str:
    text = (
        f"sync accuracy {accuracy['accuracy']:.1%} of {accuracy['windows']} windows; the own sound closer than another "
        f"moment's {accuracy['pairs']:.1%}"
    )
    return text + (f", closest of eight {accuracy['of_eight']:.1%}" if "of_eight" in accuracy else "")


def _commonest(offsets: dict[int, int]) -> str:
    """The commonest offsets: `+0 (85), +1 (2)`."""
    commonest = sorted(offsets.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{offset:+d} ({count})" for offset, count in commonest)
