"""What scores mean and when they are good, in words: for tables, pages and the terminal.

The figures are of real footage: the bundled expert on 122 clips of people of its training and of two others, and on
seven of people whom it does not know (docs/scoring.md); the published SyncNet as papers measure it.
"""

from typing import Any

PUBLISHED = "published"  # how the names of published scorers begin (metrics/experts.py)
NOT_MEASURABLE = "not measurable"
WITH_THIS_EXPERT = f"{NOT_MEASURABLE} with this expert"
WHY_NOT = (
    f"{NOT_MEASURABLE}: the scorer cannot tell this video from the same one with its sound shifted. It may not know "
    "such faces, or there is little speech; another scorer may tell (--syncnet_checkpoint_path): the published "
    "SyncNet, or an expert trained on this person"
)
NEAR, FAR = 1, 2  # frames of offset up to which lips and speech are in sync, and nearly
GOOD_CONFIDENCE = {True: 6.0, False: 0.5}  # by whether the scorer is a published one: what real footage reaches
KINDS = {  # of sync_kind, in words
    "good": "in time; says nothing about how it looks", "remark": "two frames off", "bad": "out of time",
    "unknown": "too unsure to tell",
}  # fmt: skip

MEANINGS = {
    "offset": "Frames of 40 ms by which the sound is late; below zero it is early. Good: -1 to +1. Given only where "
    "the scorer can tell this video from the same one shifted.",
    "LSE-D": "Distance of lips and sound where they lie closest; less is better. Real footage: 0.3 to 0.7 by an expert "
    "of this project (unrelated: 0.8 to 1.2), 6.5 to 7 by the published SyncNet. Comparable within one scorer only.",
    "LSE-C": "Confidence: how much closer lips and sound lie at the best shift than at the usual one; more is better. "
    "Real footage: 0.5 to 1 by an expert of this project (unrelated: 0.1 to 0.4), 7 to 8 by the published SyncNet. "
    "Comparable within one scorer only.",
    "mouth L1": "Mean difference to the reference in the lower half of the face, of 0 to 1; less is better. A blurred "
    "mouth can have little.",
    "PSNR": "Likeness to the reference in dB; more is better. A blurred mouth can have 35 dB: read it with sharpness.",
    "SSIM": "Structural likeness to the reference, up to 1. A blurred mouth can have 0.95: read it with sharpness.",
    "sharpness": "Fine detail at the mouth, over the reference's. 1 is as sharp; below 0.7 the mouth looks blurred, "
    "above 1.4 it is over-sharpened or noisy.",
    "gradient distance": "How far the mouth's edges, fine to coarse, are from the reference's: 0 is equal, more is "
    "worse. Counts blur where PSNR hardly does; no learned network, so not comparable with LPIPS.",
    "mouth_l1": "Mean difference to the true lower half of the face, of 0 to 1; less is better.",
    "mouth_ssim": "Structural likeness of the lower half of the face to the true one, up to 1.",
    "follows": "Does the mouth move as the true one does? Correlation of what changes: 1 as in truth, 0 unrelated.",
    "motion": "How much the mouth moves, over the true motion: 1 is right, less is too still, more flickers.",
    "contrast": "How much lips, teeth and skin differ, over the true contrast: 1 is right, less is pale or blurred.",
    "sync_distance": "LSE-D of dubs with another clip's speech; less is better. Compare with real footage.",
    "sync_generated": "sync_distance of the same dubs before they are refined.",
    "sync_confidence": "LSE-C of dubs with another clip's speech; more is better. Compare with real footage.",
    "sync_offset": "Frames by which the sound of these dubs is late. Good: -1 to +1.",
    "l1": "Mean difference of generated windows to the true ones, of 0 to 1; less is better.",
    "sync": "The sync loss: how unlikely the expert holds lips and speech to belong together; less is better.",
    "mouth_psnr": "Likeness of the mouth to the true one in dB; more is better.",
    "gradient_distance": "How far the mouth's edges are from the true ones': 0 is equal, more is worse.",
    "sharpness_ratio": "Fine detail at the mouth, over the true one's. 1 is as sharp, below 0.7 looks blurred.",
    "flicker_ratio": "How much the mouth flickers, over the true one: 1 is as steady, more flickers.",
}


def sync_kind(score: dict[str, Any] | None, scorer: str) -> str:
    """good, remark (two frames off), bad (more) or unknown: not measurable as a whole or in most of its seconds, or
    with less confidence than real footage has. score: of a video or one of its seconds, None where there is none;
    scorer: its name."""
    if score is None or not score["measurable"] or _measurable_seconds(score) < 0.5:
        return "unknown"
    if score["lse_c"] < GOOD_CONFIDENCE[scorer.startswith(PUBLISHED)]:
        return "unknown"
    distance = abs(score["offset"])
    return "good" if distance <= NEAR else "remark" if distance <= FAR else "bad"


def _measurable_seconds(score: dict[str, Any]) -> float:
    """Share of the seconds of a video that are measurable; 1 for a single second."""
    seconds = score.get("seconds")
    return sum(second["measurable"] for second in seconds) / len(seconds) if seconds else 1.0


def offset_in_words(sync: dict) -> str:
    """The offset as a table gives it. sync: of WindowStream.result."""
    return f"{sync['offset']:+d}" if sync["measurable"] else NOT_MEASURABLE


def sync_in_words(sync: dict) -> str:
    """One line on how well lips and speech of a video fit."""
    if not sync["measurable"]:
        return f"lips and speech: {WITH_THIS_EXPERT} ({sync['scorer']})"
    good = GOOD_CONFIDENCE[sync["scorer"].startswith(PUBLISHED)]
    few = f", measurable in {share:.0%} of the seconds" if (share := _measurable_seconds(sync)) < 0.5 else ""
    return (
        f"lips and speech: {KINDS[sync_kind(sync, sync['scorer'])]} (offset {sync['offset']:+d} frames, "
        f"confidence {sync['lse_c']:.2f}; real footage: {good:g} and more{few}; {sync['scorer']})"
    )
