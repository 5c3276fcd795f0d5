"""What scores and measured facts of footage mean, and which values are good: for tables, pages and the terminal.

Figures of real footage: the bundled expert on 122 clips of people of its training and of two others
(docs/scoring.md); the published SyncNet as papers measure it.
"""

from collections.abc import Mapping

from metrics.sync import SyncResult

NOT_MEASURABLE = "not measurable"
WHY_NOT_MEASURABLE = (
    f"{NOT_MEASURABLE}: the scorer cannot tell this video from the same one with its sound shifted. It may not know "
    "such faces, or there is little speech; another scorer may tell (--syncnet_checkpoint_path): the published "
    "SyncNet, or an expert trained on this person"
)
KINDS = {  # of SyncResult.kind
    "good": "in time; says nothing about how it looks", "remark": "two frames off", "bad": "out of time",
    "unknown": "too unsure to tell",
}  # fmt: skip
GLOSSARY = {
    "offset": "Frames of 40 ms by which the sound is late; below zero it is early. Good: -1 to +1. Given only where "
    "the scorer can tell this video from the same one shifted.",
    "LSE-D": "Distance of lips and sound where they lie closest; less is better. Real footage: 0.5 to 0.8 by the "
    "bundled expert (unrelated: 0.85 to 1.1), 6.5 to 7 by the published SyncNet. Comparable within one scorer only.",
    "LSE-C": "Confidence: how much closer lips and sound lie at the best shift than at the median one; more is better. "
    "Real footage: 0.4 to 0.8 by the bundled expert (unrelated: 0.1 to 0.3), 7 to 8 by the published SyncNet. "
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
    "sync_confidence": "LSE-C of dubs with another clip's speech; more is better. Compare with real footage.",
    "sync_offset": "Frames by which the sound of these dubs is late. Good: -1 to +1.",
    "l1": "Mean difference of generated windows to the true ones, of 0 to 1; less is better.",
    "sync": "Sync loss: -log of the expert's similarity of lips and speech; less is better.",
    NOT_MEASURABLE: WHY_NOT_MEASURABLE,
}


def format_offset(sync: SyncResult) -> str:
    return f"{sync.offset:+d}" if sync.measurable else NOT_MEASURABLE


def format_sync(sync: SyncResult) -> str:
    """One line on how well lips and speech of a video fit."""
    if not sync.measurable:
        return f"lips and speech: {NOT_MEASURABLE} with this expert ({sync.scorer})"
    few = f", measurable in {sync.measurable_seconds:.0%} of the seconds" if sync.measurable_seconds < 0.5 else ""
    return (
        f"lips and speech: {KINDS[sync.kind]} (offset {sync.offset:+d} frames, confidence {sync.lse_c:.2f}; "
        f"real footage: {sync.good_confidence:g} and more{few}; {sync.scorer})"
    )


# Facts of footage: from which value on they are a fault
MIN_FACE_SHARE = 0.9  # of the frames
MIN_FACE_HEIGHT = 64  # pixels
MIN_SHARPNESS = 40.0  # at the generator's size; sharp footage has 100 to 300, the same blurred by 1.5 pixels some 17
MIN_SPEECH_SHARE = 0.3  # of the time
MIN_SHOT_SECONDS = 2.0
MAX_SEVERAL_PEOPLE = 0.2  # share of the frames
MAX_ON_SIDE = 0.3  # share of the frames; of upright heads there are none, of sideways ones half and more


def format_cuts(cuts: float) -> str:
    return f"{cuts:.0f} hard {'cut' if cuts == 1 else 'cuts'}"


def footage_remarks(facts: Mapping[str, float], advice: Mapping[str, str]) -> list[str]:
    """What is wrong with footage, each with what to do about it, the worst first.

    facts: face_share, on_side, several_people (shares of frames), cuts (a number), face_height (pixels), sharpness,
    speech_share (of the time); unknown ones are left out. advice: what to do, by the same names.
    """
    faults = {
        "face_share": lambda x: x < MIN_FACE_SHARE and f"face in {x:.0%} of the frames",
        "on_side": lambda x: x > MAX_ON_SIDE and f"head on its side in {x:.0%} of the frames",
        "several_people": lambda x: x > MAX_SEVERAL_PEOPLE and f"several people in {x:.0%} of the frames",
        "cuts": lambda x: x > 0 and format_cuts(x),
        "face_height": lambda x: x < MIN_FACE_HEIGHT and f"small face ({x:.0f} px high)",
        "sharpness": lambda x: x < MIN_SHARPNESS and "blurred face",
        "speech_share": lambda x: x < MIN_SPEECH_SHARE and f"speech in {x:.0%} of the time",
    }
    found = {name: fault(facts[name]) for name, fault in faults.items() if name in facts}
    return [f"{fault}: {advice[name]}" for name, fault in found.items() if fault]
