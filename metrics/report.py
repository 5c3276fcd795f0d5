"""Scores for people: tables for the terminal, pages with plots."""

from pathlib import Path

from metrics.articulation import ARTICULATION
from metrics.evaluation import means
from metrics.sync_offset import MAX_SHIFT
from reports import page, plots


def video_rows(results: list[dict]) -> list[tuple[str, ...]]:
    """A table, the first row its head: one row for every video and scorer, and the mean where there are several."""
    rows: list[tuple[str, ...]] = [("video", "scorer", "offset", "LSE-D", "LSE-C", "mouth L1", "PSNR", "SSIM")]
    for result in results:
        like = result.get("reference")
        likeness = (f"{like['l1']:.4f}", f"{like['psnr']:.1f} dB", f"{like['ssim']:.3f}") if like else ("", "", "")
        for sync in result["sync"]:
            numbers = (f"{sync['offset']:+d}", f"{sync['lse_d']:.3f}", f"{sync['lse_c']:.3f}")
            rows.append((Path(result["video"]).name, sync["scorer"], *numbers, *likeness))
    for mean in means(results) if len(results) > 1 else ():
        name = f"mean of {len(results)}, {mean['within_1']:.0%} within one frame"
        rows.append((name, mean["scorer"], "", f"{mean['lse_d']:.3f}", f"{mean['lse_c']:.3f}", "", "", ""))
    return rows


def as_text(rows: list[tuple[str, ...]]) -> str:
    """The table in columns, empty ones left out."""
    shown = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in shown}
    return "\n".join("  ".join(row[i].ljust(widths[i]) for i in shown).rstrip() for row in rows)


def video_parts(results: list[dict]) -> list[page.Part]:
    """The table, and for every video plots of distance over shift and of confidence by second."""
    parts: list[page.Part] = [page.Table(video_rows(results))]
    shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
    for result in results:
        parts.append(page.Heading(Path(result["video"]).name))
        drawn = []
        for sync in result["sync"]:
            curve = [(float(shift), distance) for shift, distance in zip(shifts, sync["curve"], strict=True)]
            figure = plots.lines({"": curve}, "shift in frames", "distance")
            drawn.append(page.Plot(figure, "distance over shift", sync["scorer"]))
            seconds = [(second["second"], second["lse_c"]) for second in sync["seconds"]]
            if len(seconds) > 1:
                figure = plots.lines({"": seconds}, "second", "confidence")
                drawn.append(page.Plot(figure, "confidence by second", sync["scorer"]))
        parts.append(page.Plots(drawn))
    return parts


def generator_text(result: dict) -> str:
    """What evaluate_generator found: a table of likeness, and one of lip-sync for every expert."""
    names = ("mouth_l1", "mouth_ssim", *ARTICULATION)
    likeness: list[tuple[str, ...]] = [(f"{result['clips']} clips", *names)]
    for case, values in result["likeness"].items():
        likeness.append((case, f"{values['mouth_l1']:.4f}", *(f"{values[name]:.3f}" for name in names[1:])))
    parts = [as_text(likeness), f"L1 in the mouth's region: {result['l1_to_copying']:.2f} of that of the other frame"]
    for expert in result["experts"]:
        rows: list[tuple[str, ...]] = [("", "distance", "confidence", "within one frame", "offsets")]
        for case, sync in expert["sync"].items():
            numbers = (f"{sync['distance']:.3f}", f"{sync['confidence']:.3f}", f"{sync['within_1']:.0%}")
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
