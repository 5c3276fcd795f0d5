"""One person of a dub: what they say, where their face is, and what happens to it from frame to frame.

A dub has one person, or several in a conversation (dubbing/dubber.py: DubPlan.people). All of them share the networks
and the source; whatever remembers the last frame is the person's own.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from audio import dub_mel_start
from dubbing import stages
from dubbing.faces import FaceFinder, FaceRegions
from dubbing.networks import Networks
from dubbing.occlusion import Masks, OcclusionDetector
from dubbing.options import Options
from dubbing.own_pixels import FAR, FEWEST_FACES, MOST_FACES, MouthBank, OwnPixels, collect, draw, join, long_enough
from dubbing.paste import FaceRegion, upright_crop
from dubbing.record import ProgressBar, ranges_of
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech
from dubbing.stages import FaceTask, SyncMonitor
from dubbing.voices import Place, name_of
from face_detection.crop import to_network_size
from face_detection.find import resembles
from media.opening import videos_among
from utils.errors import InputError, warn
from utils.files import existing_file, folders_below
from utils.progress import doing

OCCLUSION_REFERENCES = 48  # crops that explain what a face without an occluder looks like
INVISIBLE = 0.5 / 255  # a mask that is nowhere above this changes no level
OF_FACES = ("pads", "align", "nosmooth", "face_detector", "no_cache")  # options that hold for --mouths_from, too


class Person:
    """Has a speech from the beginning, and after use() a face in the frames and the stages that it goes through."""

    def __init__(self, networks: Networks, options: Options, speech: Speech, place: Place | None = None) -> None:
        """place: who it is; None: the one whom the options choose."""
        self.networks, self.options, self.speech, self.place = networks, options, speech, place
        self.times: list[float] = []  # of the frames in which the face is dubbed

    def use(self, faces: FaceRegions, crops: Sequence[np.ndarray]) -> None:
        """Build the stages for these faces. crops: of the face from all over the video, uint8 BGR [h, w, 3] of any
        sizes, for --occlusion."""
        options = self.options
        self.faces = faces
        self.occlusion = self._occlusion(crops) if options.occlusion else None
        self.own_pixels: OwnPixels | None = None
        self.masks = Masks(options.paste, self.networks.hp.img_size, self.occlusion)
        self._last_known: np.ndarray | None = None  # upper half of the last face
        # after "generate", which all people share
        self.stages: dict[str, stages.Stage] = {"match": stages.match} if options.paste == "soft" else {}

    @cached_property
    def heard(self) -> np.ndarray:
        """The expert's embeddings of the speech, float32 [F, D], of windows that start at frames 0 to F-1."""
        assert self.networks.expert
        return self.networks.expert.embed_mel(self.speech.mel)

    @cached_property
    def monitor(self) -> SyncMonitor | None:
        """Scores the lips; None where nothing is scored."""
        expert = self.networks.expert
        return SyncMonitor(expert, self.heard) if expert and not self.options.no_score else None

    def task(self, frame: TimedFrame) -> FaceTask | None:
        """The face to dub in a frame, where there is one; called in the order of the frames."""
        region = self.faces.at(frame.number) if frame.time < self.speech.seconds else None
        face = self.face_task(frame, region) if region else None
        self.times += [frame.time] if face else []
        return face

    def face_task(self, frame: TimedFrame, region: FaceRegion) -> FaceTask | None:
        """The face in this region of a frame; None where nothing of it would be seen, or where it lies between
        detections and does not resemble the last face."""
        crop, hp, mel = upright_crop(frame.picture, region), self.networks.hp, self.speech.mel
        source_face = to_network_size(crop, hp.img_size)
        upper = source_face[: hp.img_size // 2]
        if region.interpolated and self._last_known is not None and not resembles(upper, self._last_known):
            return None
        self._last_known = upper
        mask = self.masks(region, source_face)
        if mask.max() <= INVISIBLE:
            return None
        start = dub_mel_start(frame.time, mel.shape[1], hp, self.options.published_timing)
        return FaceTask(frame, region, source_face, mask, mel[:, start : start + hp.mel_window], source_face)

    def wants_own_pixels(self, source: Source) -> bool:
        """Whether mouths are to be taken from other moments of the video, or of --mouths_from, where they are shown."""
        options, expert = self.options, self.networks.expert
        if not (self.networks.own_pixels and expert and options.paste == "soft" and not options.box):
            return False
        return long_enough(source, expert) or options.mouths_from is not None

    def use_own_pixels(self, source: Source, seconds: float, progress: ProgressBar) -> None:
        """Take mouths from the first seconds of the video, decoded once more, and from --mouths_from."""
        expert = self.networks.expert
        assert expert

        def mouths(source: Source, faces: FaceRegions, seconds: float) -> list[MouthBank]:
            if not (bank := collect(source, faces, seconds, expert, progress)):
                return []
            with doing("own mouths"):
                return [replace(bank, drawn=draw(bank, source, faces, self.networks, expert))]

        banks = mouths(source, self.faces, seconds)
        options = Options(**{name: getattr(self.options, name) for name in OF_FACES})
        for path in self._other_videos(source):
            missing = MOST_FACES - sum(len(bank.numbers) for bank in banks)
            if missing < FEWEST_FACES:
                break
            print(f"mouths from {path}", flush=True)
            other = Source(path, options)
            seconds = min(missing / expert.hp.fps, other.play_seconds)
            try:
                faces = FaceFinder(other, seconds, self.networks.backend.device).find(progress)
            except InputError as error:
                warn(f"no mouths from {error}")
                continue
            banks += [replace(bank, numbers=bank.numbers + FAR) for bank in mouths(other, faces, seconds)]
        if banks and (bank := join(banks)).talks:
            self.own_pixels = OwnPixels(bank, self.heard, expert, float(source.rate))
            self.stages = {"own_pixels": self.own_pixels, **self.stages}

    def _other_videos(self, source: Source) -> list[Path]:
        """What --mouths_from names: a video, or all in a folder but the dubbed one."""
        path = self.options.mouths_from
        if not path or not path.is_dir():
            return [existing_file(path, "--mouths_from")] if path else []
        found = (path for folder in folders_below(path) for path in folder.iterdir())
        videos = [video for video in videos_among(found, tell=False) if not video.samefile(source.path)]
        if not videos:
            raise InputError(f"--mouths_from {path}: no other videos in this folder")
        return videos

    def _occlusion(self, crops: Sequence[np.ndarray]) -> OcclusionDetector | None:
        """A warning says what it cannot tell here."""
        if not self.faces.has_landmarks:
            warn("--occlusion: profile views are dubbed; only --face_detector retinaface tells them, without a --box")
        if not crops:
            warn("--occlusion: the video shows too little of the face to tell what covers it")
            return None
        chosen = np.unique(np.linspace(0, len(crops) - 1, OCCLUSION_REFERENCES).astype(int))
        small = [to_network_size(crops[number], self.networks.hp.img_size) for number in chosen]
        return OcclusionDetector(np.stack(small), self.networks.backend.name)

    def record(self) -> dict[str, Any]:
        """What a Record says of the person, after the dub."""
        told = {"covered": self.occlusion is not None, "turned": self.faces.has_landmarks}
        return {
            "person": name_of(self.place),
            "frames": len(self.times),
            "ranges": ranges_of(self.times),
            "audio": str(self.speech.path),
            "parts": [[str(part.audio), part.start] for part in self.speech.parts],
            "own_pixels": self.own_pixels.record() if self.own_pixels else None,
            "silent_share": round(self.speech.silent, 3),
            "occlusion": told if self.options.occlusion else None,
            "occluded": self.masks.occluded,
            "turned": self.masks.turned,
            "sync": self.monitor.result() if self.monitor else None,
        }
