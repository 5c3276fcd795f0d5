"""Which videos there are, which clips they become, and which of these clips are finished."""

from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from data.clip_record import ClipRecord, read_record
from face_detection import choose_detector
from hparams import HParams
from media.files import videos_among
from preprocessing.options import PreprocessingOptions
from utils.errors import InputError
from utils.files import folders_below

FORMAT = 3  # of a clip folder; a change makes all clips again


@dataclass(frozen=True)
class Job:
    """One video that becomes one clip."""

    video: Path
    clip: str  # <group>/<clip>
    detector: str
    options: PreprocessingOptions
    hp: HParams

    @property
    def folder(self) -> Path:
        return self.options.preprocessed_root / self.clip

    def origin(self) -> dict:
        """What the clip is made from; a finished clip with the same origin is left as it is."""
        stat = self.video.stat()
        settings = {"format": FORMAT, "fps": self.hp.fps, "sample_rate": self.hp.sample_rate, "detector": self.detector}
        streams = {"audio_stream": self.options.audio_stream, "video_stream": self.options.video_stream}
        chosen = {name: number for name, number in streams.items() if number is not None}
        return {"source": self.video.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, **settings, **chosen}

    def finished_record(self) -> ClipRecord | None:
        """The record of the finished clip, or None if it has to be made."""
        try:
            record = read_record(self.folder)
        except InputError:  # making the clip reports it
            return None
        refused = record.dub and not self.options.accept_dubs
        finished = record.origin == self.origin() and not refused
        return replace(record, clip=self.clip) if finished else None


def plan_jobs(options: PreprocessingOptions, hp: HParams) -> list[Job]:
    """One job per video."""
    detector = choose_detector(options.face_detector)  # "auto" resolved, for the clip's origin
    return [
        Job(video, clip, detector, options, hp) for clip, video in find_videos(options.data_root, tell=True).items()
    ]


def find_videos(data_root: Path | None, tell: bool = False) -> dict[str, Path]:
    """All visible videos below the folder, also behind symbolic links, by the name of their clip. tell: print the names
    of files that may have been meant as videos."""
    if data_root is None or not data_root.is_dir():
        raise InputError(f"--data_root {data_root}: no such folder")
    videos = videos_among((path for folder in folders_below(data_root) for path in folder.iterdir()), tell)
    if not videos:
        raise InputError(f"--data_root {data_root}: no videos found")
    return dict(zip(clip_names(videos, data_root), videos, strict=True))


def clip_names(videos: list[Path], data_root: Path) -> list[str]:
    """<group>/<clip> of every video; the group is its folder. No two names are equal, even if case is ignored, and no
    clip's name is the folder of another group: where the stem is taken, a clip has the video's whole name."""
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
