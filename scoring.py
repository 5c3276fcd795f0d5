"""How good a generator is, on clips kept aside.

Likeness: every frame is drawn to the clip's own speech, with another frame of the clip as reference, and its lower half
compared with the true one (L1, SSIM). Sync: every frame is drawn to the speech of another clip, as dubbing does it, and
the expert places the result against that speech.
"""

from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

import audio
import sync_offset
from clip_cache import Clip
from devices import Precision
from drawing import draw_mouths
from hparams import HParams

CLIPS = 8  # scored, evenly spaced over those kept aside
FRAMES = 75  # of each clip
BATCH = 16  # frames drawn at once


@dataclass(frozen=True)
class Dub:
    """A clip's faces drawn to some speech: faces uint8 BGR [N, S, S, 3]; clip and voice: whose picture and speech."""

    faces: np.ndarray
    clip: Clip
    voice: Clip


def pick_clips(clips: list[Clip]) -> list[Clip]:
    count = min(CLIPS, len(clips))
    return [clips[i * len(clips) // count] for i in range(count)]


def dub(generator, clip: Clip, voice: Clip, hp: HParams, precision: Precision, own_reference: bool) -> Dub:
    """Draw the first frames of a clip to the speech of another. own_reference: each frame is its own reference, as in
    dubbing; otherwise a frame half the clip away is."""
    faces = clip.faces[:FRAMES]
    far = len(faces) // 2
    references = faces if own_reference else np.roll(faces, -far, axis=0)
    starts = [audio.dub_mel_start(frame / hp.fps, len(voice.mel), hp) for frame in clip.times[:FRAMES]]
    mels = np.stack([voice.mel_window(start, hp) for start in starts])
    parts = [
        draw_mouths(generator, faces[i : i + BATCH], references[i : i + BATCH], mels[i : i + BATCH], precision)
        for i in range(0, len(faces), BATCH)
    ]
    return Dub(np.concatenate(parts), clip, voice)


def likeness(drawn: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """L1 (of 0..1) and SSIM of the lower halves; both uint8 BGR [N, S, S, 3]."""
    drawn, true = (faces[:, faces.shape[1] // 2 :] for faces in (drawn, true))
    l1 = float(np.abs(drawn.astype(np.float32) - true).mean()) / 255
    return l1, float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in zip(drawn, true, strict=True)]))


def sync_distances(expert, faces: np.ndarray, clip: Clip, voice: Clip, hp: HParams, precision: Precision) -> np.ndarray:
    """Distances [W, 31] of all windows of faces, shown at the times of the clip's frames, from the voice's mel."""
    starts = clip.rows_in_a_row(hp.window_frames)
    starts = starts[starts <= len(faces) - hp.window_frames]
    return sync_offset.shift_distances(expert, faces, starts, clip.times[starts], voice.mel, hp, precision)


def score(generator, expert, clips: list[Clip], hp: HParams, precision: Precision) -> tuple[dict[str, float], Dub]:
    """mouth_l1, mouth_ssim, sync_distance, sync_confidence and sync_offset over the clips, and the first clip's dub.

    A clip without a neighbour is dubbed with its own speech. Sync scores are left out where clips are too short.
    """
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    redrawn = [dub(generator, clip, clip, hp, precision, own_reference=False) for clip in clips]
    each = [likeness(result.faces, result.clip.faces[:FRAMES]) for result in redrawn]
    dubs = [dub(generator, clip, voice, hp, precision, own_reference=True) for clip, voice in pairs]
    scores = dict(zip(("mouth_l1", "mouth_ssim"), np.mean(each, axis=0).tolist(), strict=True))
    distances = [sync_distances(expert, d.faces, d.clip, d.voice, hp, precision) for d in dubs]
    return scores | _sync_scores(distances), dubs[0]


def true_scores(expert, clips: list[Clip], hp: HParams, precision: Precision) -> dict[str, float]:
    """The sync scores of the clips' own frames and speech: what a perfect generator would get."""
    return _sync_scores([sync_distances(expert, clip.faces[:FRAMES], clip, clip, hp, precision) for clip in clips])


def _sync_scores(distances: list[np.ndarray]) -> dict[str, float]:
    result = sync_offset.score(np.concatenate(distances))
    if result is None:
        return {}
    return {
        "sync_distance": result.distance, "sync_confidence": result.confidence, "sync_offset": float(result.offset),
    }  # fmt: skip
