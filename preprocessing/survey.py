"""What preprocessed clips are like, measured as they lie on disk, whichever preprocessing wrote them.

clip.json of every clip is brought up to date; training reads the sound's offset from it.
"""

from pathlib import Path

import audio
from data import filelists
from data.clip import Clip, read_record
from data.dataset import GeneratorWindows
from hparams import HParams
from media.reader import read_image
from metrics.experts import Expert
from metrics.footage import sharpness
from metrics.sync_offset import score_distances
from models.published import PUBLISHED_EXPERT
from preprocessing import report
from preprocessing.make_clip import hear
from preprocessing.options import PreprocessingOptions
from preprocessing.verdicts import amount, judge_all
from utils import distributed
from utils.devices import Precision
from utils.errors import InputError
from utils.files import folders_below, read_json, write_json
from utils.progress import Progress

FEWEST_WINDOWS = 20  # compared at every shift; fewer give wrong offsets now and then
WINDOWS = 300  # of a clip, evenly spaced, that the expert is shown
PICTURES = 8  # of a clip, whose sharpness is measured


def load_expert(path: Path | None, precision: Precision) -> Expert | None:
    """The expert at `path`, or the published one in its place, or None."""
    if path is None and not PUBLISHED_EXPERT.exists():
        print(f"the sound's offset is not measured, since the bundled expert knows too few faces: `python weights.py "
              f"fetch {PUBLISHED_EXPERT.stem}`, or --syncnet_checkpoint_path with an expert", flush=True)  # fmt: skip
        return None
    return Expert.load(path or PUBLISHED_EXPERT, precision)


def clip_folders(root: Path) -> list[Path]:
    """All folders below root that hold a clip."""
    if not root.is_dir():
        raise InputError(f"--preprocessed_root {root}: no such folder")
    clips = sorted(
        folder for folder in folders_below(root)
        if not folder.name.startswith(".") and (folder / "audio.wav").exists() and any(folder.glob("*.jpg"))
    )  # fmt: skip
    if not clips:
        raise InputError(f"--preprocessed_root {root}: no clips found (folders of 0.jpg, ... and audio.wav)")
    return clips


def record_of(folder: Path, root: Path, hp: HParams) -> dict:
    """What the pictures say of a clip, and clip.json, if there is one; what is wrong with the folder is its problem."""
    clip = folder.relative_to(root).as_posix()
    try:
        return _record(folder, hp) | {"clip": clip}
    except InputError as error:
        return {"clip": clip, "problem": str(error)}


def _record(folder: Path, hp: HParams) -> dict:
    record = read_record(folder)
    if record.keys() >= {"problem", "frames", "seconds", "faces", "face_height"}:
        return record
    frames = Clip(folder, hp).frames
    count = int(frames[-1]) + 1
    return {
        "problem": None,
        "frames": count,
        "seconds": round(count / hp.fps, 3),
        "faces": len(frames),
        "face_height": len(read_image(folder / f"{frames[len(frames) // 2]}.jpg")),
    } | record


def survey(records: list[dict], options: PreprocessingOptions, expert: Expert | None, hp: HParams) -> int:
    """Measure and judge the clips of all processes; in the main process bring clip.json, report and lists up to date
    and print them. Returns the exit code: 0 where all clips can be used.

    records: this process's share.
    """
    root = options.preprocessed_root
    bar = Progress(records, "survey", unit="clip", disable=not distributed.is_main())
    measured = [measure(record, root / record["clip"], expert, hp) if "frames" in record else record for record in bar]
    everything = sorted(distributed.all_gather(measured), key=lambda record: record["clip"])
    if not distributed.is_main():
        return 0
    judged, remarks = judge_all(everything, hp)
    remarks = [amount(report.total(judged)["usable_minutes"])[1], *remarks]
    for record in judged:
        if "frames" in record:
            _write_record(root / record["clip"] / "clip.json", record)
    report.write(root, judged, remarks)
    print(report.table(judged))
    for line in remarks:
        print(line)
    print(f"{root / 'report.html'}: look at it before training")
    usable = [record["clip"] for record in judged if record["usable"]]
    left_out = [record["clip"] for record in judged if not record["usable"]]
    if not usable:
        raise InputError(f"{root}: none of its {len(judged)} videos can be used; see the table")
    for sentence in filelists.update_lists(options.filelists_dir, root, usable, left_out):
        print(sentence)
    return 0 if not left_out else 1


def measure(record: dict, folder: Path, expert: Expert | None, hp: HParams) -> dict:
    """The record with the clip's sharpness, loudness, speech, training windows and, by an expert, the sound's offset; a
    clip that cannot be read has nothing but a problem."""
    try:
        clip = Clip(folder, hp)
    except InputError as error:
        return {"clip": record["clip"], "problem": str(error)}
    powers, raised = hear(folder / "audio.wav", hp)
    measured = {
        "sharpness": round(sharpness(clip.faces[:: max(1, len(clip.faces) // PICTURES)]), 1),
        "loudness_dbfs": round(audio.loudness_dbfs(powers) - raised, 1),
        "speech_share": round(audio.speech_share(powers), 3),
        "windows": len(clip.window_rows(hp, GeneratorWindows.per_frame_mels)),
        "findings": record.get("findings", audio.raised_notice(raised)),
    }
    return record | measured | (_offset(clip, expert, hp) if expert else {})


def _offset(clip: Clip, expert: Expert, hp: HParams) -> dict:
    """offset, confidence and evidence, None where the clip is too short to tell."""
    starts = clip.run_starts(hp.window_frames)
    starts = starts[:: -(-len(starts) // WINDOWS) or 1]
    score = score_distances(expert.distances(clip.faces, starts, clip.frames[starts], clip.mel.T), FEWEST_WINDOWS)
    if score is None:
        return {"offset": None, "confidence": None, "evidence": None}
    confidence, evidence = round(score.confidence, 4), round(score.evidence, 2)
    return {"offset": score.offset, "confidence": confidence, "evidence": evidence}


def _write_record(path: Path, record: dict) -> None:
    if not path.exists() or read_json(path) != record:
        write_json(path, record)
