"""Scores for people: tables for the terminal, pages with plots."""

from pathlib import Path

from metrics.glossary import GLOSSARY, KINDS, NOT_MEASURABLE, WHY_NOT_MEASURABLE, format_offset, format_sync
from metrics.similarity import ARTICULATION
from metrics.sync import MAX_SHIFT, SyncResult
from metrics.videos import VideoScore, means
from reports import plots
from reports.page import Cell, format_table, html

LIKENESS = ("mouth L1", "PSNR", "SSIM", "sharpness", "gradient distance")
ONE_CLIP = "one clip has no other: it is dubbed with its own speech; two or more in eval.txt show dubs with another's"
COLOUR_NAMES = {"good": "Green", "remark": "Yellow", "bad": "Red", "unknown": "Grey"}
SHARP, SMEARED = (0.7, 1.4), 0.4  # ratios of sharpness that are good, and below which a mouth is visibly blurred


def video_rows(scores: list[VideoScore]) -> list[tuple[str | Cell, ...]]:
    """A table, the first row its head: one row for every video and scorer, and the mean where there are several."""
    rows: list[tuple[str | Cell, ...]] = [("video", "scorer", "offset", "LSE-D", "LSE-C", *LIKENESS)]
    for score in scores:
        for sync in score.sync:
            offset = Cell(format_offset(sync), sync.kind, "" if sync.measurable else WHY_NOT_MEASURABLE)
            numbers = (offset, f"{sync.lse_d:.3f}", f"{sync.lse_c:.3f}")
            rows.append((Path(score.video).name, sync.scorer, *numbers, *_likeness_cells(score.reference)))
    for mean in means(scores) if len(scores) > 1 else ():
        near = "" if mean["within_1"] is None else f", {mean['within_1']:.0%} of these within one frame"
        name = f"mean of {mean['videos']}: {mean['measurable']} measurable{near}"
        rows.append((name, mean["scorer"], "", f"{mean['lse_d']:.3f}", f"{mean['lse_c']:.3f}", *[""] * len(LIKENESS)))
    return rows


def _likeness_cells(like: dict | None) -> tuple[str | Cell, ...]:
    if like is None:
        return ("",) * len(LIKENESS)
    ratio = like["sharpness_ratio"]
    kind = "good" if SHARP[0] <= ratio <= SHARP[1] else "bad" if ratio < SMEARED else "remark"
    return (
        f"{like['l1']:.4f}", f"{like['psnr']:.1f} dB", f"{like['ssim']:.3f}", Cell(f"{ratio:.2f}", kind),
        f"{like['gradient_distance']:.3f}",
    )  # fmt: skip


def format_scores(scores: list[VideoScore]) -> str:
    """The table, and why offsets are missing in it."""
    known = all(sync.measurable for score in scores for sync in score.sync)
    return format_table(video_rows(scores)) + ("" if known else f"\n{WHY_NOT_MEASURABLE}")


def video_parts(scores: list[VideoScore]) -> list:
    """The table, and for every video plots of distance over shift and of confidence by second."""
    rows, scorers = video_rows(scores), list(dict.fromkeys(sync.scorer for score in scores for sync in score.sync))
    if len(scorers) == 1:
        rows = [(row[0], *row[2:]) for row in rows]
    shown = [str(name) for i, name in enumerate(rows[0]) if any(str(row[i]) for row in rows[1:])]
    parts = [
        html.table(rows, GLOSSARY), html.text(f"Scored by {', '.join(scorers)}."),
        html.legend([*shown, NOT_MEASURABLE], GLOSSARY),
    ]  # fmt: skip
    for score in scores:
        parts.append(html.heading(Path(score.video).name))
        parts += [html.text(format_sync(sync), sync.kind) for sync in score.sync]
        drawn = [sync_plots(sync, f"{sync.scorer}: " if len(scorers) > 1 else "") for sync in score.sync]
        parts.append(html.plots({caption: plot for by_caption in drawn for caption, plot in by_caption.items()}))
    key = ". ".join(f"{COLOUR_NAMES[kind]}: {words}" for kind, words in KINDS.items())
    return [*parts, html.text(f"Colours of the seconds. {key}.")]


def sync_plots(sync: SyncResult, prefix: str = "") -> dict[str, str]:
    """By caption, which begins with the prefix: the distance at every shift, which in sync has one sharp minimum near
    0, and the confidence of every second."""
    shifts = list(zip(range(-MAX_SHIFT, MAX_SHIFT + 1), sync.curve, strict=True))
    drawn = {f"{prefix}distance by shift": plots.lines({"": shifts}, "shift of the sound in frames", "distance")}
    if len(sync.seconds) > 1:
        bars = [(second.second, second.lse_c, sync.kind_of(second)) for second in sync.seconds]
        drawn[f"{prefix}confidence by second"] = plots.bars(bars, "second", "confidence")
    return drawn


def format_generator(result: dict) -> str:
    """What evaluate_generator found: a table of likeness, and one of lip-sync for every expert."""
    names = ("mouth_l1", "mouth_ssim", *ARTICULATION)
    likeness: list[tuple[str, ...]] = [(f"{result['clips']} clips", *names)]
    for case, values in result["likeness"].items():
        likeness.append((case, f"{values['mouth_l1']:.4f}", *(f"{values[name]:.3f}" for name in names[1:])))
    lines = [format_table(likeness)]
    lines += [f"L1 in the mouth's region: {result['l1_to_copying']:.2f} of that of the other frame"]
    lines += [ONE_CLIP] if result["clips"] == 1 else []
    for expert in result["experts"]:
        rows = [("", "distance", "confidence", "within one frame", "measurable", "offsets of these")]
        for case, sync in expert["sync"].items():
            commonest = sorted(sync["offsets"].items(), key=lambda item: -item[1])[:3]
            rows.append((
                case, f"{sync['distance']:.3f}", f"{sync['confidence']:.3f}", f"{sync['within_1']:.0%}",
                f"{sync['measurable']:.0%}", ", ".join(f"{offset:+d} ({count})" for offset, count in commonest),
            ))  # fmt: skip
        accuracy = expert["sync_accuracy"]
        of_eight = f", closest of eight {accuracy['of_eight']:.1%}" if "of_eight" in accuracy else ""
        lines += [
            "",
            f"{expert['expert']}: sync accuracy {accuracy['accuracy']:.1%} of {accuracy['windows']} windows; its own "
            f"sound closer than another moment's {accuracy['pairs']:.1%}{of_eight}",
            format_table(rows),
        ]
    return "\n".join(lines)
