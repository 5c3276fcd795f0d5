"""What the facts about a clip mean: whether it can be trained on, and what its owner can do about it."""

from data.dataset import GeneratorWindows
from hparams import HParams
from metrics import footage
from metrics.footage import LITTLE_SPEECH, SHORT_SHOT
from metrics.sync_offset import TRUSTED_EVIDENCE

SOUND_SHORT = 0.5  # seconds of picture without sound
ADVICE = {
    "face_share": "the rest is left out; show the face more",
    "on_side": "turn the video upright",
    "several_people": "the largest is used; crop to one",
    "face_height": "film closer",
    "sharpness": "use sharper footage",
    "speech_share": "cut the silence out",
}
GOOD_AMOUNT, LEAST_AMOUNT = 3.0, 1.0  # usable minutes of one person for a finetune with its refiner
FAR = 2  # frames of offset from which on it is corrected: less is within what a single clip resolves


def amount(minutes: float) -> tuple[bool, str]:
    """Whether so many usable minutes are enough to learn one person from, and a sentence."""
    of_wanted = f"{_duration(minutes)} of {GOOD_AMOUNT:g} minutes"
    missing = f"add {_duration(GOOD_AMOUNT - minutes)} of the same person"
    if minutes >= GOOD_AMOUNT:
        return True, f"amount: {_duration(minutes)}, enough for a finetune of one person"
    if minutes >= LEAST_AMOUNT:
        return False, f"amount: {of_wanted}; a finetune of one person works, and better with more: {missing}"
    return False, f"amount: {of_wanted}, too little for a good finetune of one person: {missing}"


def _duration(minutes: float) -> str:
    """In whole seconds, from two minutes on in minutes."""
    return f"{round(60 * minutes)} s" if minutes < 2 else f"{minutes:.1f} minutes"


def judge_all(records: list[dict], hp: HParams) -> tuple[list[dict], list[str]]:
    """The records with `usable`, `verdict` and `sound_offset`, and what there is to say of all of them together."""
    judged = [record for record in records if _tells_offset(record)]
    knows = 2 * sum(record["evidence"] >= TRUSTED_EVIDENCE for record in judged) > len(judged)
    remarks = []
    if judged and not knows:
        remarks.append("the expert is sure of less than half of the clips, as of faces or voices it does not know: its "
                    "offsets are not used")  # fmt: skip
    return [_judge(record, knows, hp) for record in records], remarks


def _tells_offset(record: dict) -> bool:
    return record["problem"] is None and record.get("evidence") is not None and record["speech_share"] >= LITTLE_SPEECH


def _judge(record: dict, knows: bool, hp: HParams) -> dict:
    """knows: whether the expert knows such faces, so that its offsets are used."""
    problem, remarks = record["problem"], _remarks(record, hp) if "frames" in record else []
    problem = problem or _too_short(record, hp)
    far = knows and _tells_offset(record) and abs(record["offset"]) >= FAR
    correct = far and record["evidence"] >= TRUSTED_EVIDENCE
    if far and not correct:
        problem = "left out: sound and picture do not fit (dubbed, another's voice, not this face?)"
    offset = record["offset"] if correct else 0
    if correct:
        when = "late" if offset > 0 else "early"
        remarks.insert(
            0, f"sound {abs(offset)} frames ({abs(offset) * 1000 // hp.fps} ms) {when}, corrected in training"
        )
    verdict = "; ".join([problem or "ok", *remarks])
    return {**record, "usable": problem is None, "verdict": verdict, "sound_offset": offset}


def _too_short(record: dict, hp: HParams) -> str | None:
    """A clip is used as the trainings use it: where it has the windows that they draw from it."""
    windows, needed = record.get("windows", GeneratorWindows.needed), GeneratorWindows.needed
    if windows >= needed:
        return None
    return (
        f"too short: {windows} training windows ({hp.window_frames} frames in a row with a face, and their sound), "
        f"{needed} are needed"
    )


def _remarks(record: dict, hp: HParams) -> list[str]:
    """In the order of what matters most. Facts that a record does not have, since its folder is not of this
    preprocessing, are left out."""
    silent_end = record["seconds"] - record.get("sound_seconds", record["seconds"])
    cuts = len(record.get("cuts", []))
    short = "; use longer shots" if record["seconds"] / (cuts + 1) < SHORT_SHOT else ""
    measured = ("on_side", "several_people", "face_height", "sharpness", "speech_share")
    facts = {name: record[name] for name in measured if name in record}
    facts |= {"face_share": record["faces"] / record["frames"], "cuts": cuts}
    cases = [
        (silent_end > SOUND_SHORT, f"sound ends {silent_end:.1f} s early: check the file"),
        (record.get("damaged_packets"), f"{record.get('damaged_packets')} damaged packets skipped: copy it again"),
        (record.get("fps_in", hp.fps) != hp.fps, f"{record.get('fps_in')} fps, re-timed to {hp.fps}"),
    ]
    said = footage.remarks(facts, ADVICE | {"cuts": f"no window spans one{short}"})
    return said + [remark for applies, remark in cases if applies]
