"""What `make demo` and `inference.py --demo` dub, and how the result scores.

python -m demo.showcase           # draws docs/demo.jpg, the strip in the README, from what --demo made
"""

from pathlib import Path

import cv2
import numpy as np

from demo.portrait import SPEECH, make_clip
from face_detection import build_detector
from media.reader import VideoReader
from metrics.experts import load_scorer
from metrics.video_score import score_video
from models.published import default_scorers
from utils.devices import pick_device

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "demo" / "out"
FACE, AUDIO, DUBBED = OUT / "portrait.mp4", SPEECH, OUT / "dubbed.mp4"
STRIP = slice(14, 90, 15)  # frames of the strip
AROUND = (slice(40, 220), slice(130, 320))  # the face in the portrait


def make_portrait_clip() -> None:
    """Make the clip that is dubbed: the portrait talking for five seconds, with another part of the speech."""
    if not FACE.exists():
        OUT.mkdir(parents=True, exist_ok=True)
        make_clip(FACE, start=4.0, seconds=5.0, seed=99)


def score(device: str) -> str:
    """How well lips and speech of the dubbed clip fit, in a line."""
    where = pick_device(device)
    scorer, detector = load_scorer(default_scorers()[0], where), build_detector("auto", str(where))
    sync = score_video(DUBBED, DUBBED, None, [scorer], detector, batch_size=16)["sync"][0]
    return (
        f"lips and speech by {sync['scorer']}: offset {sync['offset']:+d} frames, LSE-D {sync['lse_d']:.3f}, "
        f"LSE-C {sync['lse_c']:.3f}; look at {DUBBED}"
    )


def strip(videos: tuple[Path, ...]) -> np.ndarray:
    """The same frames of each video, one video a row: uint8 BGR [H, W, 3]."""
    rows = []
    for video in videos:
        frames = [frame.image for frame, _ in zip(VideoReader(video).frames(), range(STRIP.stop), strict=False)]
        rows.append(np.hstack([image[AROUND] for image in frames[STRIP]]))
    return np.vstack(rows)


if __name__ == "__main__":
    encoded = cv2.imencode(".jpg", strip((FACE, DUBBED)), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    (ROOT / "docs" / "demo.jpg").write_bytes(encoded.tobytes())
