"""How good a generator is, on clips kept aside; as a script, with the ceiling, the floor and several experts.

    python scoring.py --data_root preprocessed --checkpoint_path checkpoints/mine/best.pth \\
        --syncnet_checkpoint_path checkpoints/expert/best.pth checkpoints/another_expert.pth

Likeness: every frame is drawn to the clip's own speech, with another frame of the clip as reference, and its lower half
compared with the true one (L1, SSIM). Sync: every frame is drawn to the speech of another clip, as dubbing does it, and
the expert places the result against that speech.
"""

import argparse
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from tqdm import tqdm

import audio
import checkpoint
import cli
import sync_offset
import weights
from clip_cache import Clip
from dataset import open_clips
from devices import Precision, pick_device
from drawing import draw_mouths
from hparams import HParams
from models import SyncNet_color, Wav2Lip

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


def dub(generator, clip: Clip, voice: Clip, hp: HParams, precision: Precision, own_reference: bool,
        published_timing: bool = False) -> Dub:  # fmt: skip
    """Draw the first frames of a clip to the speech of another. own_reference: each frame is its own reference, as in
    dubbing; otherwise a frame half the clip away is."""
    faces = clip.faces[:FRAMES]
    far = len(faces) // 2
    references = faces if own_reference else np.roll(faces, -far, axis=0)
    times = clip.times[:FRAMES] / hp.fps
    starts = [audio.dub_mel_start(time, len(voice.mel), hp, published_timing) for time in times]
    mels = np.stack([voice.mel_window(start, hp) for start in starts])
    parts = [
        draw_mouths(generator, faces[i : i + BATCH], references[i : i + BATCH], mels[i : i + BATCH], precision)
        for i in range(0, len(faces), BATCH)
    ]
    return Dub(np.concatenate(parts), clip, voice)


def likeness(drawn: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """L1 (of 0..1), PSNR in dB and SSIM of two pictures, uint8 BGR [H, W, 3]; at most 100 dB."""
    difference = (drawn.astype(np.float32) - true) / 255
    psnr = -10 * np.log10(max(float(np.square(difference).mean()), 1e-10))
    return float(np.abs(difference).mean()), psnr, float(structural_similarity(drawn, true, channel_axis=2))


def mouth_likeness(drawn: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Means over the lower halves of faces, uint8 BGR [N, S, S, 3]."""
    drawn, true = (faces[:, faces.shape[1] // 2 :] for faces in (drawn, true))
    l1, _, ssim = np.mean([likeness(a, b) for a, b in zip(drawn, true, strict=True)], axis=0)
    return {"mouth_l1": float(l1), "mouth_ssim": float(ssim)}


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
    each = [mouth_likeness(result.faces, result.clip.faces[:FRAMES]) for result in redrawn]
    dubs = [dub(generator, clip, voice, hp, precision, own_reference=True) for clip, voice in pairs]
    scores = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
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


def told_apart(expert, clips: list[Clip], hp: HParams, precision: Precision) -> dict[str, float]:
    """How well the expert tells windows with their own sound from the same windows with the sound of a random other
    moment of the clip. accuracy: at a cosine of one half; pairs: how often the own sound lies closer of the two."""
    rng, right, closer = np.random.default_rng(0), [], []
    for clip in clips:
        voice = sync_offset.embed_voice(expert, np.asarray(clip.mel), hp, precision)
        rows = clip.window_rows(hp, per_frame_mels=False)
        rows = rows[clip.times[rows] < len(voice)]
        others = (np.arange(len(rows)) + rng.integers(1, len(rows), len(rows))) % len(rows)
        lips = sync_offset.embed_lips(expert, clip.faces, rows, hp, precision)
        own, other = ((lips * voice[clip.times[rows[i]]]).sum(dim=1) for i in (np.arange(len(rows)), others))
        right += torch.cat((own > 0.5, other <= 0.5)).tolist()
        closer += (own > other).tolist()
    return {"windows": len(closer), "accuracy": float(np.mean(right)), "pairs": float(np.mean(closer))}


def cases(generator, clips: list[Clip], hp: HParams, precision: Precision) -> dict[str, list[Dub]]:
    """What is compared: real footage is the ceiling, one frame held still the floor."""
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    real = [Dub(clip.faces[:FRAMES], clip, clip) for clip in clips]
    still = [Dub(np.repeat(clip.faces[:1], len(clip.faces[:FRAMES]), axis=0), clip, voice) for clip, voice in pairs]
    shown = tqdm(pairs, desc="dubbing", unit="clip", leave=False)
    dubs = [dub(generator, clip, voice, hp, precision, own_reference=True) for clip, voice in shown]
    published = [
        dub(generator, clip, voice, hp, precision, own_reference=True, published_timing=True) for clip, voice in pairs
    ]
    return {
        "real footage": real,
        "one frame held still": still,
        "dubbed with another's speech": dubs,
        "the same against the original speech": [replace(dubbed, voice=dubbed.clip) for dubbed in dubs],
        "dubbed, published timing": published,
    }


def summed_up(expert, dubs: list[Dub], hp: HParams, precision: Precision) -> dict:
    """Means over clips, and the offsets: how many clips have which, and the share within one frame of 0."""
    each = [sync_offset.score(sync_distances(expert, d.faces, d.clip, d.voice, hp, precision)) for d in dubs]
    each = [one for one in each if one is not None]
    offsets = Counter(one.offset for one in each)
    return {
        "clips": len(each),
        "distance": float(np.mean([one.distance for one in each])),
        "confidence": float(np.mean([one.confidence for one in each])),
        "within_1": float(np.mean([abs(one.offset) <= 1 for one in each])),
        "offsets": dict(sorted(offsets.items())),
    }


def main(args: argparse.Namespace) -> None:
    device = pick_device(args.device)
    precision = Precision("auto", device)
    path = args.checkpoint_path or weights.generator_there()
    generator, hp = checkpoint.load_network(path, Wav2Lip, args.hparams)
    generator.to(device, memory_format=torch.channels_last)
    clips = open_clips(args.data_root, "eval", args.filelists_dir, hp)
    clips = [clip for clip in clips if len(clip.rows_in_a_row(hp.window_frames)) > 2 * sync_offset.MAX_SHIFT]
    if not clips:
        raise cli.InputError(f"{args.filelists_dir / 'eval.txt'}: has no clip of two seconds or more; add longer ones")

    found = cases(generator, clips, hp, precision)
    redrawn = [dub(generator, clip, clip, hp, precision, own_reference=False) for clip in clips]
    held = [Dub(np.roll(d.clip.faces[:FRAMES], -(len(d.faces) // 2), axis=0), d.clip, d.clip) for d in redrawn]
    likenesses = {}
    for what, dubs in (("redrawn to its own speech", redrawn), ("another frame of the clip instead", held)):
        each = [mouth_likeness(d.faces, d.clip.faces[:FRAMES]) for d in dubs]
        likenesses[what] = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
        print(f"{what:40} " + ", ".join(f"{name} {value:.4f}" for name, value in likenesses[what].items()))

    result = {"generator": str(path), "clips": len(clips), "likeness": likenesses, "experts": []}
    for expert_path in args.syncnet_checkpoint_path or [weights.BUNDLED_EXPERT]:
        expert, _ = checkpoint.load_network(expert_path, SyncNet_color)
        expert.to(device, memory_format=torch.channels_last)
        apart = told_apart(expert, clips, hp, precision)
        print(f"\n{expert_path}: in sync or not, told rightly {apart['accuracy']:.1%} of {apart['windows']} windows; "
              f"the own sound closer than another moment's {apart['pairs']:.1%}")  # fmt: skip
        rows = {what: summed_up(expert, dubs, hp, precision) for what, dubs in found.items()}
        for what, row in rows.items():
            print(f"{what:40} distance {row['distance']:.3f}, confidence {row['confidence']:.3f}, "
                  f"within one frame {row['within_1']:.0%}, offsets {_few(row['offsets'])}")  # fmt: skip
        result["experts"].append({"expert": str(expert_path), "told_apart": apart, "sync": rows})
    cli.writable_folder(args.outfile.parent, "--outfile")
    cli.write_text(args.outfile, json.dumps(result, indent=1, ensure_ascii=False))


def _few(offsets: dict[int, int]) -> str:
    """The commonest offsets: `0 (85 clips), +1 (2)`."""
    commonest = sorted(offsets.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{offset:+d} ({count})" for offset, count in commonest)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_root", type=Path, required=True, help="the --preprocessed_root of preprocess.py")
    add("--filelists_dir", type=Path, default=Path("filelists"), help="where eval.txt is")
    add("--checkpoint_path", type=Path, help="generator weights (default: the best that are there)")
    add("--syncnet_checkpoint_path", type=Path, nargs="+", metavar="WEIGHTS", help="experts (default: the bundled one)")
    add("--outfile", type=Path, default=Path("results/generator.json"), help="default: results/generator.json")
    cli.add_common_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
