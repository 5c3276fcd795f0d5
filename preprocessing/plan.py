"""Which videos there are, which clips they become, and which of these are finished."""

from itertools import chain, count
from pathlib import Path

from data.clip import read_record
from face_detection import choose_detector
from hparams import HParams
from media.files import videos_among
from preprocessing.make_clip import Job
from preprocessing.options import PreprocessingOptions
from utils.errors import InputError
from utils.files import folders_below


def find_videos(data_root: Path, tell: bool = False) -> list[Path]:
    """All videos below the folder, behind symbolic links too, but hidden ones; tell: name files that may have been
    meant as videos."""
    if not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    videos = videos_among((path for folder in folders_below(data_root) for path in folder.iterdir()), tell)
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos found")
    return videos


def plan_jobs(options: PreprocessingOptions, hp: HParams) -> list[Job]:
    """One job per video."""
    assert options.data_root is not None
    detector = choose_detector(options.face_detector)  # what "auto" comes to belongs to a clip's origin
    videos = find_videos(options.data_root, tell=True)
    return [
        Job(
            video, clip, options.preprocessed_root / clip, detector, options.batch_size, hp, options.accept_dubs,
            options.audio_stream, options.video_stream,
        )
        for video, clip in zip(videos, clip_names(videos, options.data_root), strict=True)
    ]  # fmt: skip


def clip_names(videos: list[Path], data_root: Path) -> list[str]:
    """<group>/<clip> of every video, the group being its folder. No two are equal, also where case does not count, and
    none is the folder of another's group: where the stem is taken, a clip is called by the video's whole name."""
    groups = []
    for video in videos:
        inner = video.parent.relative_to(data_root)
        groups.append(inner.as_posix() if inner.parts else data_root.resolve().name)
    taken = {folder.as_posix().casefold() for group in groups for folder in (Path(group), *Path(group).parents)}
    clips = []
    for video, group in zip(videos, groups, strict=True):
        names = chain((video.stem, video.name), (f"{video.name}_{n}" for n in count(2)))
        clip = next(clip for clip in (f"{group}/{name}" for name in names) if clip.casefold() not in taken)
        taken.add(clip.casefold())
        clips.append(clip)
    return clips


def finished(job: Job) -> dict | None:
    """The record of a clip that is there and made from what its job says, else None."""
    try:
        record = read_record(job.folder)
    except InputError:  # making the clip says what is wrong there
        return None
    refused = record.get("dub") and not job.accept_dubs
    return record | {"clip": job.clip} if record.get("origin") == job.origin() and not refused else None
