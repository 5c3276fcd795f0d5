"""What preprocessed clips are like, measured as they lie on disk, whichever preprocessing wrote them; and what that
means: whether they can be trained on, and what their owner can do about it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

import audio
from data.clip import Clip, ClipRecord, read_record
from data.dataset import GeneratorWindows
from hparams import HParams
from media.opening import add_notice
from metrics.glossary import MIN_SHOT_SECONDS, MIN_SPEECH_SHARE, footage_remarks
from metrics.sync import SIGNIFICANT_Z_SCORE, Expert, load_expert, score_distances
from models.backend import Backend
from models.published import PUBLISHED_EXPERT
from utils.errors import InputError
from utils.files import folders_below, system_name
from utils.images import sharpness

MIN_WINDOWS = 20  # compared at every shift; fewer give wrong offsets now and then
MAX_WINDOWS = 300  # of a clip, evenly spaced, that the expert sees
SHARPNESS_PICTURES = 8  # of a clip, whose sharpness is measured
SILENT_END = 0.5  # seconds of picture without sound that are worth a remark
MIN_OFFSET = 2  # frames; smaller offsets are within what a single clip resolves, and are not corrected
GOOD_MINUTES, MIN_MINUTES = 3.0, 1.0  # usable minutes of one person for a finetune
ADVICE = {
    "face_share": "the other frames are left out; show the face more",
    "on_side": "turn the video upright",
    "several_people": "the largest is used; crop to one",
    "face_height": "film closer",
    "sharpness": "use sharper footage",
    "speech_share": "cut the silence out",
}


def find_expert(path: Path | None, device: str) -> Expert | None:
    """The expert at `path`, else the published one, or None if it is not installed."""
    if path is None and not PUBLISHED_EXPERT.exists():
        fetch = f"`python weights.py fetch {PUBLISHED_EXPERT.stem}`"
        print(f"sound offsets are not measured (the bundled expert has seen too few faces): run {fetch}, or give an "
              "expert by --syncnet_checkpoint_path", flush=True)  # fmt: skip
        return None
    return load_expert(path or PUBLISHED_EXPERT, Backend("torch", "auto", device))


def clip_names_below(root: Path) -> list[str]:
    """Names of all clips below root, <group>/<clip>."""
    if not root.is_dir():
        raise InputError(f"--preprocessed_root {root}: no such folder")
    clips = sorted(
        folder.relative_to(root).as_posix() for folder in folders_below(root)
        if not folder.name.startswith(".") and (folder / "audio.wav").exists() and any(folder.glob("*.jpg"))
    )  # fmt: skip
    if not clips:
        raise InputError(f"--preprocessed_root {root}: no clips found (folders of 0.jpg, ... and audio.wav)")
    return clips


def measure(folder: Path, name: str, expert: Expert | None, hp: HParams) -> ClipRecord:
    """The record in the clip's folder with what the clip is like now: sharpness, speech, number of windows and, given
    an expert, the sound's offset. The record of a clip that cannot be read has only a problem. name: <group>/<clip>."""
    try:
        record, clip = replace(read_record(folder), clip=name), Clip(folder, hp)
    except InputError as error:
        return ClipRecord(name, str(error))
    if not (record.made and record.face_height):  # of the published preprocessing
        frames, height = int(clip.frames[-1]) + 1, len(clip.picture(len(clip.frames) // 2))
        seconds = round(frames / hp.fps, 3)
        record = replace(record, frames=frames, seconds=seconds, faces=len(clip.frames), face_height=height)
    wav, raised = audio.raise_quiet_speech(soundfile.read(system_name(folder / "audio.wav"), dtype="float32")[0], hp)
    powers, findings = audio.frame_powers(wav, hp), list(record.findings or [])
    loudness, silent, doubt = audio.loudness_dbfs(powers), audio.is_silent(powers), audio.speech_doubt(powers)
    if doubt and not silent:
        add_notice(findings, doubt)
    add_notice(findings, *audio.raised_notice(raised))
    pictures = clip.faces[:: max(1, len(clip.faces) // SHARPNESS_PICTURES)]
    measured = replace(
        record,
        problem=f"is silent ({loudness:.0f} dBFS)" if silent else None,
        findings=findings,
        sharpness=round(float(np.mean([sharpness(face) for face in pictures])), 1),
        loudness_dbfs=round(loudness - raised, 1),
        speech_share=round(audio.speech_share(powers), 3),
        windows=len(clip.window_rows(hp, GeneratorWindows.per_frame_mels)),
    )
    if expert is None:
        return measured
    starts = clip.run_starts(hp.window_frames)
    starts = starts[:: -(-len(starts) // MAX_WINDOWS) or 1]
    score = score_distances(expert.distances(clip.faces, starts, clip.frames[starts], clip.mel.T), MIN_WINDOWS)
    if score is None:  # too short
        return replace(measured, offset=None, confidence=None, evidence=None)
    confidence, evidence = round(score.lse_c, 4), round(score.evidence, 2)
    return replace(measured, offset=score.offset, confidence=confidence, evidence=evidence)


def judge_all(records: list[ClipRecord], hp: HParams) -> tuple[list[ClipRecord], list[str]]:
    """The records with `usable`, `verdict` and `sound_offset`, and remarks on all of them together."""
    scored = [record for record in records if _has_offset(record)]
    sure = [record for record in scored if _is_significant(record)]
    expert_is_reliable = 2 * len(sure) > len(scored)
    remarks = []
    if scored and not expert_is_reliable:
        remarks.append("the expert is unreliable on this data (confident on at most half of the clips); its offsets "
                       "are ignored")  # fmt: skip
    return [_judge(record, expert_is_reliable, hp) for record in records], remarks


def _has_offset(record: ClipRecord) -> bool:
    return record.problem is None and record.offset is not None and record.speech_share >= MIN_SPEECH_SHARE


def _is_significant(record: ClipRecord) -> bool:
    return (record.evidence or 0) >= SIGNIFICANT_Z_SCORE


def _judge(record: ClipRecord, expert_is_reliable: bool, hp: HParams) -> ClipRecord:
    problem, remarks, sound_offset = record.problem, _remarks(record, hp) if record.made else [], 0
    if not problem and record.windows is not None and record.windows < GeneratorWindows.needed:
        problem = (f"too short: {record.windows} training windows ({hp.window_frames} frames in a row with a face, and "
                   f"their sound), {GeneratorWindows.needed} are needed")  # fmt: skip
    offset = (record.offset or 0) if expert_is_reliable and _has_offset(record) else 0
    if abs(offset) >= MIN_OFFSET and _is_significant(record):
        sound_offset = offset
        milliseconds, when = abs(offset) * 1000 // hp.fps, "late" if offset > 0 else "early"
        remarks.insert(0, f"sound {abs(offset)} frames ({milliseconds} ms) {when}, corrected in training")
    elif abs(offset) >= MIN_OFFSET:
        problem = "left out: sound and picture do not fit (dubbed, another voice, not this face?)"
    verdict = "; ".join([problem or "ok", *remarks])
    return replace(record, usable=problem is None, verdict=verdict, sound_offset=sound_offset)


def _remarks(record: ClipRecord, hp: HParams) -> list[str]:
    """Most important first."""
    cuts = record.cuts or []
    short_shots = "; use longer shots" if record.seconds / (len(cuts) + 1) < MIN_SHOT_SECONDS else ""
    measured = ("on_side", "several_people", "face_height", "sharpness", "speech_share")
    facts = {name: value for name in measured if (value := getattr(record, name)) is not None}
    facts |= {"face_share": record.faces / record.frames, "cuts": len(cuts)}
    remarks = footage_remarks(facts, ADVICE | {"cuts": f"no window spans one{short_shots}"})
    if record.sound_seconds is not None and (silent := record.seconds - record.sound_seconds) > SILENT_END:
        remarks.append(f"sound ends {silent:.1f} s early: check the file")
    if record.damaged_packets:
        remarks.append(f"{record.damaged_packets} damaged packets skipped: copy it again")
    if record.fps_in not in (None, hp.fps):
        remarks.append(f"{record.fps_in} fps, re-timed to {hp.fps}")
    return remarks


def amount(minutes: float) -> tuple[bool, str]:
    """Whether so many usable minutes are enough to learn one person from, and a sentence that says so."""
    if minutes >= GOOD_MINUTES:
        return True, f"amount: {minutes:.1f} minutes, enough for a finetune of one person"
    missing = f"add {GOOD_MINUTES - minutes:.1f} minutes of the same person"
    of_wanted = f"amount: {minutes:.1f} of {GOOD_MINUTES:g} minutes"
    if minutes >= MIN_MINUTES:
        return False, f"{of_wanted}; a finetune of one person works, and better with more: {missing}"
    return False, f"{of_wanted}, too little for a good finetune of one person: {missing}"
