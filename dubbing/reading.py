"""The frames of a dub as tasks for its stages: which face each shows, how much of a new one is to be shown there."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

import audio as mels
from dubbing.faces import FaceRegions
from dubbing.occlusion import OCCLUDED, OcclusionDetector, hidden_share
from dubbing.options import Options
from dubbing.paste import FaceRegion, style_mask, upright_crop
from dubbing.record import INTERPOLATED, UNCHANGED
from dubbing.refining import refined_share
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech
from dubbing.stages import FaceTask, FrameTask
from face_detection.crop import resized, to_network_size
from face_detection.find import resembles
from hparams import HParams

INVISIBLE = 0.5 / 255  # a mask that is nowhere above this changes no level


class Masks:
    """How much of the new face is shown where: what the style shows, less where something covers the face, less the
    farther the head is turned to the side. To be asked in the order of the frames.

    occlusion: what finds that which covers the face, where that is wanted; occluded, turned: frames in which the mask
    was less for these reasons.
    """

    def __init__(self, style: str, size: int, occlusion: OcclusionDetector | None) -> None:
        self.whole, self.occlusion = style_mask(style, size), occlusion
        self.occluded = self.turned = 0

    def __call__(self, region: FaceRegion, shown: np.ndarray) -> np.ndarray:
        """float32 [S, S], 0..1; shown: the upright crop, uint8 BGR [S, S, 3]."""
        mask = self.whole
        if region.opacity < 1:
            mask = mask * np.float32(region.opacity)
            self.turned += 1
        if self.occlusion:
            visible = self.occlusion.visible(shown)
            mask = mask * visible
            self.occluded += hidden_share(visible) >= OCCLUDED
        return mask


@dataclass(frozen=True)
class FrameReader:
    """refined_size: pixels of the refiner's crops, None where nothing is refined."""

    source: Source
    pix_fmt: str
    seconds: float
    faces: FaceRegions
    speech: Speech
    masks: Masks
    refined_size: int | None
    hp: HParams
    options: Options

    def tasks(self) -> Generator[FrameTask, None, None]:
        """All output frames."""
        options, hp, columns = self.options, self.hp, self.speech.mel.shape[1]
        upper_half, last_known = slice(hp.img_size // 2), None
        whole = options.plays_whole
        extend = self.source.extension(options.extend, self.speech.seconds)
        for frame in self.source.extend_frames(self.pix_fmt, self.seconds, extend, whole):
            region, state = self.faces.at(frame.number) if frame.time < self.speech.seconds else (None, UNCHANGED)
            face: FaceTask | None = None
            if region is not None:
                crop = upright_crop(frame.picture, region)
                shown = to_network_size(crop, hp.img_size)
                upper = shown[upper_half]
                if state != INTERPOLATED or last_known is None or resembles(upper, last_known):
                    last_known, face = upper, self.face_task(frame, region, crop, shown)
            yield FrameTask(frame, state if face else UNCHANGED, face)
            if options.published_timing and mels.mel_column(frame.time, hp) + hp.mel_window > columns:
                return

    def face_task(self, frame: TimedFrame, region: FaceRegion, crop: np.ndarray, shown: np.ndarray) -> FaceTask | None:
        """The face in this region of a frame; None where nothing of it would be seen. crop: as upright_crop gives it;
        shown: the same at the network's size."""
        mask = self.masks(region, shown)
        columns = self.speech.mel.shape[1]
        start = mels.dub_mel_start(frame.time, columns, self.hp, self.options.published_timing)
        return FaceTask(frame, region, shown, mask, self._sharp(crop), start, shown) if mask.max() > INVISIBLE else None

    def _sharp(self, crop: np.ndarray) -> np.ndarray | None:
        """The crop at the refiner's size, where it is to be refined."""
        size = self.refined_size
        return resized(crop, size, size) if size and refined_share(len(crop), self.hp.img_size) else None
