"""What the facts about a clip mean: whether it can be trained on, and what its owner can do about it.

Sound offsets are judged against the other clips of the same data, since how confident an expert is depends on how well
it knows such faces: see TYPICAL.
"""

import numpy as np

from hparams import HParams

LITTLE_FACE = 0.9  # share of the frames with a face
SMALL_FACE = 64  # pixels of face height
BLURRED = 40.0  # variance of the Laplacian; sharp footage has 100 to 300, the same blurred by 1.5 pixels some 17
LITTLE_SPEECH = 0.3  # share of the time
SOUND_SHORT = 0.5  # seconds of picture without sound
SHORT_SHOT = 2.0  # seconds
SEVERAL_PEOPLE = 0.2  # share of the frames

# On 85 kept-back sentences of a speaker that it knew, an expert's confidence was 0.55 to 0.83 (5th and 95th percentile,
# median 0.71) and all offsets but one within a frame; with another sentence's sound 0.20 to 0.54, at offsets from all
# over the range. An expert that does not know the faces stays near zero.
TYPICAL = 0.2  # median confidence of the clips, below which the expert does not know these faces
NEAR = 1  # frames of offset that are left as they are: what one clip can tell
PLAUSIBLE = 0.4  # part of the typical confidence from which on a near offset is believed
SURE = 0.75  # the same for a far one, which is corrected


def judge_all(records: list[dict], hp: HParams) -> tuple[list[dict], list[str]]:
    """The records with `usable`, `verdict` and `sound_offset`, and what there is to say of all of them together."""
    confidences = [record["confidence"] for record in records if record.get("confidence") is not None]
    typical = float(np.median(confidences)) if confidences else 0.0
    said = []
    if confidences and typical < TYPICAL:
        said.append(
            f"the expert does not know these faces or voices (typical confidence {typical:.2f}): "
            "its offsets are not used"
        )
        typical = 0.0
    return [_judge(record, typical, hp) for record in records], said


def _judge(record: dict, typical: float, hp: HParams) -> dict:
    offset, problem = 0, record["problem"]
    remarks = _remarks(record, hp) if "frames" in record else []
    judged = record.get("confidence") is not None and record["speech_share"] >= LITTLE_SPEECH
    if problem is None and typical and judged:
        offset, problem, remark = _sound_offset(record["offset"], record["confidence"] / typical, hp)
        remarks = remark + remarks
    verdict = "; ".join([problem or "ok", *remarks])
    return {**record, "usable": problem is None, "verdict": verdict, "sound_offset": offset}


def _sound_offset(offset: int, confidence: float, hp: HParams) -> tuple[int, str | None, list[str]]:
    """The offset to correct, the clip's problem, and remarks; confidence as a part of the typical one."""
    far = abs(offset) > NEAR
    if confidence < (SURE if far else PLAUSIBLE):
        return 0, "left out: sound and picture do not fit (dubbed, another's voice, not this face?)", []
    if not far:
        return 0, None, []
    late = f"sound {abs(offset)} frames ({abs(offset) * 1000 // hp.fps} ms) {'late' if offset > 0 else 'early'}"
    return offset, None, [f"{late}, corrected in training"]


def _remarks(record: dict, hp: HParams) -> list[str]:
    """In the order of what matters most. Facts that a record does not have, since its folder is not of this
    preprocessing, are passed over."""
    share = record["faces"] / record["frames"]
    silent_end = record["seconds"] - record.get("sound_seconds", record["seconds"])
    cuts, people = len(record.get("cuts", [])), record.get("several_people", 0.0)
    cases = [
        (share < LITTLE_FACE, f"face in {share:.0%} of the frames: the rest is left out; show the face more"),
        (people > SEVERAL_PEOPLE, f"several people in {people:.0%} of the frames: the largest is used; crop to one"),
        (cuts, _cuts_in_words(cuts, record["seconds"])),
        (record["face_height"] < SMALL_FACE, f"small face ({record['face_height']} px high): film closer"),
        (record.get("sharpness", BLURRED) < BLURRED, "blurred face: use sharper footage"),
        (record.get("speech_share", 1.0) < LITTLE_SPEECH,
         f"speech in {record.get('speech_share', 1.0):.0%} of the time: cut the silence out"),
        (silent_end > SOUND_SHORT, f"sound ends {silent_end:.1f} s early: check the file"),
        (record.get("damaged_packets"), f"{record.get('damaged_packets')} damaged packets passed over: copy it again"),
        (record.get("fps_in", hp.fps) != hp.fps, f"{record.get('fps_in')} fps, re-timed to {hp.fps}"),
    ]  # fmt: skip
    return [remark for applies, remark in cases if applies]


def _cuts_in_words(cuts: int, seconds: float) -> str:
    advice = "; use longer shots" if seconds / (cuts + 1) < SHORT_SHOT else ""
    return f"{cuts} hard {'cut' if cuts == 1 else 'cuts'}: no window spans one{advice}"
