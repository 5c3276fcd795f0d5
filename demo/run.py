"""The whole day of a user in some two minutes, on a portrait that scikit-image ships.

    make demo                  (or: python -m demo.run)

Makes six short talking-head clips, preprocesses them, trains a narrow expert and a narrow generator for a minute, and
dubs a seventh clip with speech. The weights are a demonstration: they know one portrait, and that badly.
"""

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from demo.portrait import make_clip
from video import VideoReader

ROOT = Path(__file__).resolve().parent.parent
OUT = "demo/out"  # below ROOT, where the commands run
CLIPS, CLIP_SECONDS = 6, 1.9
NARROW = "width=0.25,num_workers=0"
EXPERT_STEPS, GENERATOR_STEPS = 60, 200


def run(command: str) -> None:
    """Show a command line as a user types it, run it, and stop when it fails. No word of it may hold a space."""
    print(f"\n$ python {command}", flush=True)
    code = subprocess.run([sys.executable, *command.split()], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def write_strip(original: Path, dubbed: Path, path: Path) -> None:
    """Faces of both videos at the same six times, the original above."""
    rows = []
    for video in (original, dubbed):
        frames = [frame.image for frame, _ in zip(VideoReader(video).frames(), range(120), strict=False)]
        rows.append(np.hstack([image[40:220, 130:320] for image in frames[10::20]]))
    path.write_bytes(cv2.imencode(".jpg", np.vstack(rows))[1].tobytes())


def main() -> None:
    began = time.perf_counter()
    raw = ROOT / OUT / "raw" / "portrait"
    raw.mkdir(parents=True, exist_ok=True)
    for i in range(CLIPS):
        if not (raw / f"clip{i}.mp4").exists():
            make_clip(raw / f"clip{i}.mp4", i * CLIP_SECONDS, CLIP_SECONDS, seed=i)
    if not (ROOT / OUT / "portrait.mp4").exists():
        make_clip(ROOT / OUT / "portrait.mp4", start=4.0, seconds=5.0, seed=99)

    run(f"preprocess.py --data_root {OUT}/raw --preprocessed_root {OUT}/preprocessed --filelists_dir {OUT}/filelists")
    clips = f"--data_root {OUT}/preprocessed --filelists_dir {OUT}/filelists"
    expert = f"{OUT}/expert/checkpoint_step{EXPERT_STEPS:09d}.pth"
    if not (ROOT / expert).exists():
        run(
            f"color_syncnet_train.py {clips} --checkpoint_dir {OUT}/expert "
            f"--max_steps {EXPERT_STEPS} --hparams {NARROW}"
        )
    generator = f"{OUT}/generator/checkpoint_step{GENERATOR_STEPS:09d}.pth"
    if not (ROOT / generator).exists():
        run(
            f"wav2lip_train.py {clips} --checkpoint_dir {OUT}/generator --syncnet_checkpoint_path {expert} "
            f"--max_steps {GENERATOR_STEPS} --hparams {NARROW},batch_size=8,initial_learning_rate=0.001"
        )
    dubbed = ROOT / OUT / "dubbed.mp4"
    run(
        f"inference.py --checkpoint_path {generator} --face {OUT}/portrait.mp4 --audio demo/speech.ogg "
        f"--outfile {OUT}/dubbed.mp4"
    )

    write_strip(ROOT / OUT / "portrait.mp4", dubbed, ROOT / OUT / "strip.jpg")
    print(f"\nThe dubbed video is {dubbed}, a strip of it beside it (made in {time.perf_counter() - began:.0f} s).")
    print("Its weights are a demonstration, trained for a minute; see the README for real ones.")


if __name__ == "__main__":
    main()
