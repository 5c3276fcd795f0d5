"""How good a generator is, on held-out clips.

Likeness: every frame is generated to the clip's own speech, with another frame of the clip as reference, and compared
with the true one: its lower half by L1 and SSIM, its mouth by how it moves (metrics/similarity.py). Sync: every frame
is generated to the speech of another clip, as in dubbing, and the expert places the result against that speech.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

import audio
from data.clip import Clip
from data.loading import open_clips
from hparams import HParams
from metrics import EvaluationOptions
from metrics.similarity import articulation, mouth_likeness, region_l1
from metrics.sync import MAX_SHIFT, Expert, load_expert, score_distances
from models.backend import Backend
from models.published import BUNDLED_EXPERT
from models.torch_backend import PictureGenerator, TorchNetwork, load_network
from utils.devices import Precision, channels_last, pick_device
from utils.errors import InputError
from utils.progress import Progress

Item = TypeVar("Item")

CLIPS = 8  # scored in training, evenly spaced over the held-out ones
FRAMES = 75  # of each clip
FRAMES_AT_ONCE = 16
CHOICES = 8  # sounds of a clip that the expert picks the right one of


@dataclass(frozen=True)
class ClipDub:
    """Faces of a clip with the speech of another."""

    faces: np.ndarray  # uint8 BGR [N, S, S, 3]
    clip: Clip  # whose faces
    speech: Clip  # whose speech


class ClipDubber:
    """A generator (in eval mode, on precision's device) that redraws preprocessed clips."""

    def __init__(self, generator: torch.nn.Module, hp: HParams, precision: Precision) -> None:
        self.network, self.hp = TorchNetwork(PictureGenerator(generator), precision, FRAMES_AT_ONCE), hp

    def dub(
        self, clip: Clip, speech: Clip, published_timing: bool = False, references: np.ndarray | None = None
    ) -> ClipDub:
        """The clip's first frames to some speech. references: of each frame, else the frame itself, as in dubbing."""
        faces, times = clip.faces[:FRAMES], clip.times[:FRAMES] / self.hp.fps
        starts = [audio.dub_mel_start(time, len(speech.mel), self.hp, published_timing) for time in times]
        mels = np.stack([speech.mel_window(start, self.hp) for start in starts])
        return ClipDub(self.network(faces, mels, faces if references is None else references), clip, speech)

    def redraw(self, clip: Clip) -> ClipDub:
        """The clip's first frames to its own speech; the reference is a frame half the clip away."""
        return self.dub(clip, clip, references=other_frames(clip))


def evenly_spaced(items: list[Item], most: int = CLIPS) -> list[Item]:
    """At most so many of them, evenly spaced."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def other_frames(clip: Clip) -> np.ndarray:
    """For each of the clip's first frames the one half the clip away: uint8 BGR [N, S, S, 3]."""
    faces = clip.faces[:FRAMES]
    return np.roll(faces, -(len(faces) // 2), axis=0)


def speech_pairs(clips: list[Clip]) -> list[tuple[Clip, Clip]]:
    """Every clip with the next one, whose speech it is dubbed with; a single clip with itself."""
    return list(zip(clips, clips[1:] + clips[:1], strict=True))


def generator_scores(dubber: ClipDubber, expert: Expert, clips: list[Clip]) -> tuple[dict[str, float], ClipDub]:
    """The scores of mean_likeness, sync_distance, sync_confidence and sync_offset over the clips, and the first clip's
    dub. Sync scores are left out where clips are too short."""
    redrawn, dubs = [], []
    for clip, speech in Progress(speech_pairs(clips), "evaluation: clips", unit="clip", leave=False):
        redrawn.append(dubber.redraw(clip))
        dubs.append(dubber.dub(clip, speech))
    scores = mean_likeness(redrawn)
    return scores | sync_numbers(expert, dubs), dubs[0]


def footage_scores(expert: Expert, clips: list[Clip]) -> dict[str, float]:
    """The sync scores of the clips' own frames and speech: what a perfect generator would get; and sync_evidence."""
    return sync_numbers(expert, [_real_footage(clip) for clip in clips], with_evidence=True)


def mean_likeness(dubs: list[ClipDub]) -> dict[str, float]:
    """Means over clips of the mouths' likeness to the true ones: mouth_l1, mouth_ssim, follows, motion, contrast."""
    pairs = [(dub.faces, dub.clip.faces[:FRAMES], dub.clip.shots[:FRAMES]) for dub in dubs]
    each = [mouth_likeness(faces, true) | articulation(faces, true, shots) for faces, true, shots in pairs]
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def l1_to_copying(redrawn: list[ClipDub]) -> float:
    """L1 in the mouth's region over that of the references (other_frames) as they are, of what ClipDubber.redraw made:
    1 is no nearer to the truth than a copy of the reference."""
    generated = sum(region_l1(dub.faces, dub.clip.faces[:FRAMES]) for dub in redrawn)
    copied = sum(region_l1(other_frames(dub.clip), dub.clip.faces[:FRAMES]) for dub in redrawn)
    return generated / max(copied, 1e-6)


def sync_distances(expert: Expert, dub: ClipDub) -> np.ndarray:
    """Distances [W, 31] of all the dub's windows, shown at the times of the clip's frames, from the speech."""
    frames = expert.hp.window_frames
    starts = dub.clip.run_starts(frames)
    starts = starts[starts <= len(dub.faces) - frames]
    return expert.distances(dub.faces, starts, dub.clip.times[starts], dub.speech.mel.T)


def sync_numbers(expert: Expert, dubs: list[ClipDub], with_evidence: bool = False) -> dict[str, float]:
    """sync_distance, sync_confidence, sync_offset and if wanted sync_evidence (the z-score), over the windows of all
    dubs; {} if they are too short."""
    score = score_distances(np.concatenate([sync_distances(expert, dub) for dub in dubs]))
    if score is None:
        return {}
    numbers = {"sync_distance": score.lse_d, "sync_confidence": score.lse_c, "sync_offset": float(score.offset)}
    return numbers | ({"sync_evidence": score.evidence} if with_evidence else {})


def sync_accuracy(expert: Expert, clips: list[Clip]) -> dict[str, float]:
    """How well the expert tells windows with their own sound from the same windows with the sound of other moments of
    the clip. accuracy: with that of one random moment, at a cosine of one half; pairs: how often the own sound lies
    closer of the two; of_eight: how often it lies closest of eight that are evenly spaced over the clip, where guessing
    gives 0.125 (left out where no clip has eight windows)."""
    rng = np.random.default_rng(0)
    right: list[bool] = []
    closer: list[bool] = []
    closest: list[bool] = []
    for clip in clips:
        sound = expert.embed_mel(clip.mel.T)
        rows = clip.window_rows(expert.hp, per_frame_mels=False)
        rows = rows[clip.times[rows] < len(sound)]
        count = len(rows)
        random = (np.arange(count) + rng.integers(1, count, count)) % count
        faces, sounds = expert.embed_faces(clip.faces, rows), sound[clip.times[rows]]  # [W, D]
        own, other = (faces * sounds).sum(axis=1), (faces * sounds[random]).sum(axis=1)
        right += np.concatenate((own > 0.5, other <= 0.5)).tolist()
        closer += (own > other).tolist()
        if count >= CHOICES:
            shifts = [count * i // CHOICES for i in range(1, CHOICES)]
            others = np.stack([(faces * np.roll(sounds, -shift, axis=0)).sum(axis=1) for shift in shifts])  # [7, W]
            closest += (own > others.max(axis=0)).tolist()
    found = {"windows": len(closer), "accuracy": float(np.mean(right)), "pairs": float(np.mean(closer))}
    return found | ({"of_eight": float(np.mean(closest))} if closest else {})


def evaluate_generator(options: EvaluationOptions) -> dict:
    """Likeness and sync of a generator on the held-out clips, with real footage and a still frame beside it."""
    assert options.generator is not None and options.data_root is not None
    precision = Precision("auto", pick_device(options.device))
    generator, hp = load_network(options.generator, "generator", options.hparams)
    channels_last(generator, precision.device)
    clips = open_clips(options.data_root, "eval", options.filelists_dir, hp)
    clips = [clip for clip in clips if len(clip.window_rows(hp, per_frame_mels=False)) > 2 * MAX_SHIFT]
    if not clips:
        raise InputError(
            f"{options.filelists_dir / 'eval.txt'}: has no clip with two seconds of sound; add longer ones"
        )
    dubber = ClipDubber(generator, hp, precision)
    redrawn = [dubber.redraw(clip) for clip in clips]
    result = {
        "generator": str(options.generator),
        "clips": len(clips),
        "likeness": {
            "generated to its own speech": mean_likeness(redrawn),
            "another frame of the clip instead": mean_likeness(
                [ClipDub(other_frames(clip), clip, clip) for clip in clips]
            ),
        },
        "l1_to_copying": l1_to_copying(redrawn),
    }
    dubs, experts = compared_dubs(dubber, clips), []
    for path in options.syncnet_checkpoint_path or [BUNDLED_EXPERT]:
        expert = load_expert(path, Backend("torch", "auto", str(precision.device)))
        sync = {case: sync_summary(expert, some) for case, some in dubs.items()}
        experts.append({"expert": str(path), "sync_accuracy": sync_accuracy(expert, clips), "sync": sync})
    return result | {"experts": experts}


def compared_dubs(dubber: ClipDubber, clips: list[Clip]) -> dict[str, list[ClipDub]]:
    """What an expert compares: real footage is the ceiling, a still frame the floor. A single clip has no other one
    whose speech it could be dubbed with: it is dubbed with its own."""
    pairs = speech_pairs(clips)
    dubs = [dubber.dub(clip, speech) for clip, speech in pairs]
    several = {
        "dubbed with another's speech": dubs,
        "the same against the original speech": [replace(dub, speech=dub.clip) for dub in dubs],
    }
    return {
        "real footage": [_real_footage(clip) for clip in clips],
        "one still frame": [replace(dub, faces=np.repeat(dub.clip.faces[:1], len(dub.faces), axis=0)) for dub in dubs],
        **(several if len(clips) > 1 else {"dubbed with its own speech": dubs}),
        "dubbed, published timing": [dubber.dub(clip, speech, published_timing=True) for clip, speech in pairs],
    }


def _real_footage(clip: Clip) -> ClipDub:
    return ClipDub(clip.faces[:FRAMES], clip, clip)


def sync_summary(expert: Expert, dubs: list[ClipDub]) -> dict:
    """Means over clips; the share whose best shift is within one frame of 0; the share whose offset is measurable, and
    the offsets of these: how many clips have which."""
    scores = [score_distances(sync_distances(expert, dub)) for dub in dubs]
    known = [score for score in scores if score is not None]
    if not known:
        raise InputError("clips of eval.txt: too short to be scored with each other's speech; add longer ones")
    return {
        "clips": len(known),
        "distance": float(np.mean([score.lse_d for score in known])),
        "confidence": float(np.mean([score.lse_c for score in known])),
        "within_1": float(np.mean([abs(score.offset) <= 1 for score in known])),
        "measurable": float(np.mean([score.measurable for score in known])),
        "offsets": dict(sorted(Counter(score.offset for score in known if score.measurable).items())),
    }
