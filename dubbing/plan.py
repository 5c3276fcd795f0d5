"""What one dub is made of, as its options ask for it: one wiring for the dub itself, for --check and for --still."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio import dub_mel_start, mel_column
from dubbing.faces import FaceFinder, FaceRegions
from dubbing.networks import Networks
from dubbing.occlusion import Masks, OcclusionDetector
from dubbing.options import Options
from dubbing.paste import FaceRegion, upright_crop
from dubbing.record import INTERPOLATED, UNCHANGED, ProgressBar, StageTimer
from dubbing.refining import FrameSampler, refine_stage, refined_share
from dubbing.source import Source, TimedFrame
from dubbing.speech import Speech, load_speech
from dubbing.stages import Composite, FaceTask, FrameTask, Generate, Stage, match
from face_detection.crop import resized, to_network_size
from face_detection.find import resembles
from media import codecs
from media.clock import END_HELD
from media.sound import sound_clock
from utils.errors import flag_named, warn

OCCLUSION_REFERENCES = 48  # crops that explain what a face without an occluder looks like
INVISIBLE = 0.5 / 255  # a mask that is nowhere above this changes no level
QUEUE_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this


class DubPlan:
    """Source, speech and encoding of a dub. After use() it also gives the frames as tasks, and has the stages that
    these go through. suffix: of the file to write."""

    def __init__(self, networks: Networks, source: Source, speech: Speech, suffix: str) -> None:
        self.networks, self.source, self.speech = networks, source, speech
        self.options = options = source.options
        self.encoding = codecs.choose(options.codec, suffix, source.pix_fmt, options.crf, options.preset)
        self.pix_fmt = self.encoding.pix_fmt
        self.seconds = min(speech.seconds, options.preview or speech.seconds)  # that are dubbed
        self.shown_seconds = source.shown_seconds(self.seconds)  # that the result lasts
        self.frames = source.frames_in(self.seconds)  # about how many the result has
        with flag_named("--final_audio"):
            self.final_clock = sound_clock(options.final_audio) if options.final_audio else None

    @classmethod
    def open(cls, face: Path, audio: Path, suffix: str, options: Options, networks: Networks) -> "DubPlan":
        """Raises InputError for files that cannot be used."""
        speech = load_speech(audio, options, networks.hp)
        return cls(networks, Source(face, options), speech, suffix)

    def look(self, progress: ProgressBar, timer: StageTimer, faces_file: Path) -> None:
        """Find the face, and use() it. Sample frames are kept while faces are searched; where nothing has to be
        searched, the video is decoded for them."""
        refiner = self.networks.refiner
        by_video = self.options.occlusion or (refiner and not refiner.bank)
        sampler = FrameSampler(self.source.frame_bytes(self.pix_fmt)) if by_video else None
        with timer("faces"):
            faces = self.finder(faces_file).find(progress, sampler)
        with timer("references"):
            if sampler and not sampler.frames:
                for frame in self.source.iter_once(self.pix_fmt, self.seconds):
                    sampler.add(frame)
            self.use(faces, sampler.crops(lambda number: faces.at(number)[0]) if sampler else [])

    def finder(self, faces_file: Path) -> FaceFinder:
        device = self.networks.backend.device
        return FaceFinder(self.source, self.pix_fmt, self.seconds, device, faces_file)

    def use(self, faces: FaceRegions, crops: Sequence[np.ndarray]) -> None:
        """Build the stages for these faces. crops: of the face from all over the video, uint8 BGR
        [h, w, 3] of any sizes, for the refiner and for occlusion."""
        options, networks, hp = self.options, self.networks, self.networks.hp
        self.faces, self.refine = faces, refine_stage(networks.refiner, crops)
        self.occlusion = self._occlusion(crops) if options.occlusion else None
        self.masks = Masks(options.paste, hp.img_size, self.occlusion)
        self.stages: dict[str, Stage] = {"generate": Generate(networks.generator, self.speech.mel, hp.mel_window)}
        self.stages |= {"refine": self.refine} if self.refine else {}
        self.stages |= {"match": match} if options.paste == "soft" else {}
        self.composite = Composite(options.paste)

    def _occlusion(self, crops: Sequence[np.ndarray]) -> OcclusionDetector:
        """A warning says what it cannot tell here."""
        chosen = np.unique(np.linspace(0, max(0, len(crops) - 1), OCCLUSION_REFERENCES).astype(int))[: len(crops)]
        size = self.networks.hp.img_size
        small = [to_network_size(crops[number], size) for number in chosen]
        references = np.stack(small) if small else np.empty((0, size, size, 3), np.uint8)
        occlusion = OcclusionDetector(references, self.networks.backend.name)
        if not occlusion.has_evidence:
            warn("--occlusion: the video shows too little of the face to tell what covers it")
        if not self.faces.has_landmarks:
            warn("--occlusion: profile views are dubbed; only --face_detector retinaface tells them, without a --box")
        return occlusion

    def tasks(self) -> Generator[FrameTask, None, None]:
        """All output frames, and in each the face to dub."""
        speech, options, hp = self.speech, self.options, self.networks.hp
        extend, last_known = self.source.extension(options.extend, speech.seconds), None
        for frame in self.source.extend_frames(self.pix_fmt, self.seconds, extend):
            region, state = self.faces.at(frame.number) if frame.time < speech.seconds else (None, UNCHANGED)
            face: FaceTask | None = None
            if region is not None:
                crop = upright_crop(frame.picture, region)
                source_face = to_network_size(crop, hp.img_size)
                upper = source_face[: hp.img_size // 2]
                if state != INTERPOLATED or last_known is None or resembles(upper, last_known):
                    last_known, face = upper, self.face_task(frame, region, crop, source_face)
            yield FrameTask(frame, state if face else UNCHANGED, face)
            if options.published_timing and mel_column(frame.time, hp) + hp.mel_window > speech.mel.shape[1]:
                return

    def face_task(
        self, frame: TimedFrame, region: FaceRegion, crop: np.ndarray, source_face: np.ndarray
    ) -> FaceTask | None:
        """The face in this region of a frame; None where nothing of it would be seen. crop: as upright_crop gives it;
        source_face: the same at the network's size."""
        mask, hp = self.masks(region, source_face), self.networks.hp
        if mask.max() <= INVISIBLE:
            return None
        start = dub_mel_start(frame.time, self.speech.mel.shape[1], hp, self.options.published_timing)
        sharp = None
        if self.refine and refined_share(len(crop), hp.img_size):
            sharp = resized(crop, self.refine.refiner.size, self.refine.refiner.size)
        return FaceTask(frame, region, source_face, mask, sharp, start, source_face)

    def batch_size(self) -> int:
        """Frames at once, fewer than --wav2lip_batch_size where they are so large that they would fill the memory."""
        most, wanted = QUEUE_BYTES // 2 // self.source.frame_bytes(self.pix_fmt), self.networks.generator.batch_size
        size = max(1, min(wanted, most))
        if self.options.wav2lip_batch_size and size < wanted:
            print(f"--wav2lip_batch_size {wanted}: {size}, since frames this large must not fill the memory")
        return size

    def findings(self) -> list[str]:
        """What was found and changed in the files so far, in short phrases."""
        found, final, seconds = [*self.source.findings, *self.speech.findings], self.final_clock, self.shown_seconds
        longer = (final.sound.end if final and final.sound else seconds) - seconds
        if abs(longer) > END_HELD:
            length = f"{longer:.1f} s longer, cut" if longer > 0 else f"{-longer:.1f} s shorter, silence after it"
            found.append(f"final audio {length}")
        return list(dict.fromkeys(found))

    def record(self) -> dict[str, Any]:
        """What a Record says of it, after the dub."""
        source, speech, options, backend = self.source, self.speech, self.options, self.networks.backend
        return {
            "face": str(source.path),
            "audio": str(speech.path),
            "generator": {"file": str(self.networks.path), "sha256": self.networks.sha256},
            "refiner": self.refine.record() if self.refine else None,
            "engine": backend.name,
            "precision": backend.dtype,
            "device": backend.device,
            "batch_halved": self.networks.generator.oom_retries,
            "timing": "published" if options.published_timing else "training",
            "paste": options.paste,
            "silence": options.silence,
            "silent_share": round(speech.silent, 3),
            "speech_seconds": round(speech.seconds, 3),
            "extend": source.extension(options.extend, speech.seconds),
            "source_fps": round(float(source.reader.rate), 3) if source.reader else None,
            "fps": round(float(source.rate), 3),
            "part": list(source.part) if source.part else None,
            "damaged_packets": source.reader.damaged_packets if source.reader else 0,
            "findings": self.findings(),  # some are noticed while frames are decoded
            "encoder": self.encoding.encoder,
            "options": self.encoding.options,
            "preview_seconds": options.preview,
            "final_audio": str(options.final_audio) if options.final_audio else None,
            "faces": {"detector": self.faces.detector, "cached": self.faces.cached},
            "occlusion": self._occlusion_record(),
            "occluded": self.masks.occluded,
            "turned": self.masks.turned,
            "settings": options.as_json(),
        }

    def _occlusion_record(self) -> dict[str, bool] | None:
        found = self.occlusion
        return {"covered": found.has_evidence, "turned": self.faces.has_landmarks} if found else None
